"""A rolling upgrade, and back: brokers of two versions in one cluster, with a producer and a group all the while.

    scripts/upgrade-test [--old PROGRAM] [--keep]
"""

import argparse
import subprocess
import sys
import time

from stage import Failed, Load, Stage, unlisted, wait_for

SETTINGS = {"KAFSCALE_SESSION_TTL_MS": "3000", "KAFSCALE_COMPACTION_INTERVAL_MS": "2000"}
# What a broker says while others come and go.
PROVOKED = ["the session was not revoked"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", required=True)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    versions = [subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
                for program in (args.old, args.new)]
    with Stage(args.new, args.keep) as stage:
        try:
            play(stage, args)
        except (Failed, subprocess.SubprocessError) as error:
            stage.say(f"FAILED: {error}")
            stage.keep = True
            return 1
    print(f"upgrade: {versions[0]} to {versions[1]} and back, passed")
    return 0


def play(stage, args):
    stage.etcd()
    stage.minio()
    brokers = [stage.broker(number, program=args.old, settings=SETTINGS, name=f"old-{number}") for number in (1, 2, 3)]
    bootstrap = lambda: ",".join(f"127.0.0.1:{broker.kafka}" for broker in brokers)
    stage.run("topic", "create", "orders", "--partitions", "12", bootstrap=bootstrap())
    wait_for("each has its share", 60, lambda: all(broker.metric("kafscale_partitions") == 4 for broker in brokers))
    count = 0
    for what, program in (("new", args.new), ("old-again", args.old), ("new-again", args.new)):
        stage.run("topic", "create", f"orders-{what}", "--partitions", "6", bootstrap=bootstrap())
        load = Load(stage, f"orders-{what}", bootstrap())
        for index in range(3):
            old = brokers[index]
            took, code = old.end()
            stage.check(code == 0, f"{old.name} ends with {code}")
            new = stage.broker(old.number, program=program, settings=SETTINGS, name=f"{what}-{old.number}",
                               ports=(old.kafka, old.admin))
            brokers[index] = new
            wait_for(f"{new.name} has a share", 60, lambda: new.metric("kafscale_partitions") > 0)
            stage.say(f"{old.name} has ended within {took:.1f} s, {new.name} has {new.metric('kafscale_partitions'):.0f} "
                      "partitions")
            # Both versions write, compact, commit and read what the other has written.
            group = f"billing-{what}"
            stage.run("consume", f"orders-{what}", "--group", group, "--from-beginning", "--exit-at-end", bootstrap=bootstrap(),
                      program=args.old if index % 2 else args.new)
            stage.run("produce", "orders", bootstrap=bootstrap(), data="".join(f"{count + n}\n" for n in range(500)).encode(),
                      program=args.new if index % 2 else args.old)
            count += 500
        stage.expect_once(f"orders-{what}", bootstrap(), load.end())
        stage.expect_once("orders", bootstrap(), count)
        stage.run("backup", "create", program=program)
    wait_for("segments are there", 30, lambda: sum(broker.metric("kafscale_segments") for broker in brokers) > 0)
    for process in stage.processes:
        if process.name.startswith(("old", "new")):
            loud = unlisted(process.text(), PROVOKED)
            stage.check(not loud, f"{process.name} has logged {loud[:2]}")
    for broker in brokers:
        broker.end()
    stage.run("fsck", "--deep")
    stage.say("kafscale fsck --deep finds nothing")


if __name__ == "__main__":
    sys.exit(main())

"""The worst night, played: each story of docs/runbooks/ with real processes, as its page says, and what the metrics showed.

    scripts/worst-night [--only store,etcd,disk,broker] [--outage SECONDS] [--report FILE] [--pictures DIR] [--keep]
"""

import argparse
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import time

from stage import ROOT, Failed, Load, Skipped, Stage, wait_for

TTL = "3000"


def store_down(stage, outage):
    """docs/runbooks/store-down.md"""
    stage.etcd()
    minio = stage.minio()
    brokers = [stage.broker(number, settings={"KAFSCALE_SESSION_TTL_MS": TTL, "KAFSCALE_S3_HEALTH_WINDOW_SEC": "10"})
               for number in (1, 2)]
    bootstrap = f"127.0.0.1:{brokers[0].kafka}"
    stage.run("topic", "create", "orders", "--partitions", "6", bootstrap=bootstrap)
    stage.watch(lambda: brokers)
    load = Load(stage, "orders", bootstrap)
    time.sleep(5)
    before = len(stage.read_all("orders", bootstrap))
    minio.end(signal.SIGKILL)
    stage.say(f"the store is gone; {before} records were there")
    took = wait_for("the brokers call the store unavailable", 60,
                    lambda: all(broker.metric("kafscale_s3_health_state") == 2 for broker in brokers))
    stage.say(f"kafscale_s3_health_state is 2 on both after {took:.1f} s; /readyz: {brokers[0].page('/readyz')[1].strip()}")
    stage.check(brokers[0].page("/readyz")[0] == 503, "a broker that refuses produce is not ready")
    stage.check(brokers[0].page("/healthz")[0] == 200, "a broker whose store is away must not be restarted")
    seen = stage.run("consume", "orders", "--offset", "-1", "--max-messages", "1", "--timeout", "10s", bootstrap=bootstrap)
    stage.check(seen.strip(), "what is in memory is not served")
    stage.say("a consumer reads what is in memory")
    stage.picture(brokers[0], "overview", "store-down")
    stage.picture(brokers[0], "events", "store-down-events")
    time.sleep(max(0.0, outage - took))
    minio.start()
    wait_for("MinIO answers", 60, stage.s3_answers)
    stage.say(f"the store is back after {outage:.0f} s")
    took = wait_for("the brokers call it healthy and are ready", 120, lambda: all(
        broker.metric("kafscale_s3_health_state") == 0 and broker.ready() for broker in brokers))
    stage.say(f"both are ready after another {took:.1f} s, without anybody's help")
    time.sleep(3)
    stage.expect_once("orders", bootstrap, load.end())
    for broker in brokers:
        stage.check(broker.child.poll() is None, f"{broker.name} has ended")
    stage.run("fsck", "--deep")
    stage.say("kafscale fsck --deep finds nothing")


def etcd_lost(stage, _outage):
    """docs/runbooks/etcd-lost.md"""
    etcd = stage.etcd()
    stage.minio()
    settings = {"KAFSCALE_SESSION_TTL_MS": TTL, "KAFSCALE_BACKUP_INTERVAL_MS": "2000"}
    brokers = [stage.broker(number, settings=settings) for number in (1, 2)]
    bootstrap = f"127.0.0.1:{brokers[0].kafka}"
    stage.run("topic", "create", "orders", "--partitions", "6", bootstrap=bootstrap)
    stage.watch(lambda: brokers)
    load = Load(stage, "orders", bootstrap)
    wait_for("a backup is there", 30, lambda: sum(b.metric("kafscale_backups_total{result=\"ok\"}") for b in brokers) >= 2)
    time.sleep(3)
    etcd.end(signal.SIGKILL)
    shutil.rmtree(stage.work / "etcd.data")
    stage.say("etcd is gone, with its data")
    took = wait_for("the keep-alives fail", 30, lambda: brokers[0].metric("kafscale_keep_alive_errors_total") > 0)
    stage.say(f"kafscale_keep_alive_errors_total rises after {took:.1f} s; produce and fetch go on")
    stage.picture(brokers[0], "overview", "etcd-lost")
    sent = load.sent
    wait_for("records are acknowledged without etcd", 30, lambda: load.sent > sent + 50)
    count = load.end()
    stage.say(f"step 1: stop the brokers; {count} records are acknowledged until then")
    for broker in brokers:
        broker.end()
    stage.etcd("etcd-2")
    stage.say("step 2: an empty etcd")
    refused = stage.run("broker", "--broker-id", "1", fails=True)
    stage.check("backup restore" in refused, f"a broker on an empty etcd says: {refused[-300:]}")
    stage.say("a broker that is started too early is refused, and names kafscale backup restore")
    from_etcd = [str(pathlib.Path(subprocess.run([ROOT / "scripts/install-etcd"], capture_output=True, text=True).stdout.strip())
                     / "etcdctl"), "--endpoints", stage.environment["KAFSCALE_ETCD_ENDPOINTS"], "del", "--prefix", "/kafscale/kafscale/"]
    subprocess.run(from_etcd, check=True, capture_output=True, env={**os.environ, "ETCDCTL_API": "3"})
    stage.run("backup", "verify")
    stage.run("backup", "restore", "--dry-run")
    began = time.monotonic()
    stage.run("backup", "restore")
    stage.say(f"steps 3 and 4: the newest backup is written back in {time.monotonic() - began:.1f} s")
    stage.run("fsck", "--deep")
    stage.say("step 5: kafscale fsck --deep finds nothing")
    again = [stage.broker(number, settings=settings, name=f"broker-{number}-again") for number in (1, 2)]
    brokers[:] = again
    bootstrap = f"127.0.0.1:{again[0].kafka}"
    stage.say("step 6: the brokers are back")
    stage.expect_once("orders", bootstrap, count)
    stage.run("produce", "orders", bootstrap=bootstrap, data=f"{count}\n".encode())
    stage.expect_once("orders", bootstrap, count + 1)


def full_disk(stage, _outage):
    """docs/runbooks/full-disk.md"""
    disk = stage.work / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        raise Skipped("a small disk cannot be mounted here: run this as root")
    try:
        broker = stage.broker(0, settings={"KAFSCALE_DATA_DIR": str(disk / "data"), "KAFSCALE_S3_HEALTH_WINDOW_SEC": "10"})
        bootstrap = f"127.0.0.1:{broker.kafka}"
        stage.run("topic", "create", "orders", "--partitions", "2", bootstrap=bootstrap)
        stage.watch(lambda: [broker])
        load = Load(stage, "orders", bootstrap)
        time.sleep(3)
        free = os.statvfs(disk)
        # All but nothing: what is left is less than a flush.
        with open(disk / "filler", "wb") as filler:
            try:
                while True:
                    filler.write(b"x" * 65536)
                    filler.flush()
            except OSError:
                pass
        stage.say(f"the disk is full; {free.f_bavail * free.f_frsize >> 20} MiB were free")
        took = wait_for("produce is refused", 60, lambda: broker.page("/readyz")[0] == 503)
        stage.say(f"/readyz after {took:.1f} s: {broker.page('/readyz')[1].strip()}")
        seen = stage.run("consume", "orders", "--offset", "-1", "--max-messages", "1", "--timeout", "10s", bootstrap=bootstrap)
        stage.check(seen.strip(), "what is there is not served")
        stage.say("consumers go on")
        stage.picture(broker, "overview", "full-disk")
        time.sleep(10)
        stage.check(broker.page("/healthz")[0] == 200, "a broker whose disk is full must not be restarted")
        stage.check(broker.child.poll() is None, "the broker has ended")
        os.unlink(disk / "filler")
        took = wait_for("the broker takes batches again", 120, broker.ready)
        stage.say(f"space is there again: ready after {took:.1f} s, without a restart")
        time.sleep(2)
        count = load.end()
        stage.expect_once("orders", bootstrap, count)
        broker.end(signal.SIGKILL)
        broker.start()
        broker.wait_ready()
        stage.expect_once("orders", bootstrap, count)
        broker.end()
    finally:
        subprocess.run(["umount", "-l", disk], capture_output=True)


def broker_replaced(stage, _outage):
    """docs/runbooks/broker-replaced.md"""
    stage.etcd()
    stage.minio()
    settings = {"KAFSCALE_SESSION_TTL_MS": TTL}
    brokers = [stage.broker(number, settings=settings) for number in (1, 2, 3)]
    bootstrap = ",".join(f"127.0.0.1:{broker.kafka}" for broker in brokers)
    stage.run("topic", "create", "orders", "--partitions", "12", bootstrap=bootstrap)
    wait_for("each has its share", 60, lambda: all(broker.metric("kafscale_partitions") == 4 for broker in brokers))
    live = list(brokers)
    stage.watch(lambda: live)
    load = Load(stage, "orders", bootstrap)
    time.sleep(3)
    dead = brokers[2]
    dead.end(signal.SIGKILL)
    stage.say("broker 3 is dead (kill -9), with 4 of 12 partitions")
    took = wait_for("the others have its partitions", 30,
                    lambda: sum(broker.metric("kafscale_partitions") for broker in brokers[:2]) == 12)
    stage.say(f"the others have everything after {took:.1f} s (time to live {int(TTL) / 1000:.0f} s)")
    stage.check(took <= int(TTL) / 1000 + 2, "it took longer than the time to live and 2 s")
    stage.picture(brokers[0], "cluster", "broker-dead")
    new = stage.broker(4, settings=settings)
    live[:] = [*brokers[:2], new]
    took = wait_for("the new broker has its share", 60, lambda: new.metric("kafscale_partitions") == 4)
    stage.say(f"broker 4, on another machine, has its share {took:.1f} s after it was ready")
    began = time.monotonic()
    stage.run("cluster", "drain", "1")
    stage.say(f"kafscale cluster drain 1: empty after {time.monotonic() - began:.1f} s")
    wait_for("its metrics say so too", 5, lambda: brokers[0].metric("kafscale_partitions") == 0)
    took, code = brokers[0].end()
    stage.check(code == 0, f"a drained broker ends with {code}")
    live[:] = [brokers[1], new]
    stage.say(f"broker 1 is stopped for good within {took:.1f} s")
    time.sleep(2)
    stage.expect_once("orders", f"127.0.0.1:{new.kafka}", load.end())
    stage.run("fsck", "--deep")
    stage.say("kafscale fsck --deep finds nothing")


STORIES = {"store": store_down, "etcd": etcd_lost, "disk": full_disk, "broker": broker_replaced}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--only", default=",".join(STORIES))
    parser.add_argument("--outage", type=float, default=600.0, help="seconds without a store")
    parser.add_argument("--report", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path, help="a folder for what the console shows")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    report, failed, skipped = [], 0, 0
    for name in args.only.split(","):
        story = STORIES[name]
        print(f"\n== {name} ({story.__doc__})", flush=True)
        with Stage(args.program, args.keep, args.pictures and args.pictures.resolve()) as stage:
            try:
                story(stage, args.outage)
            except Skipped as error:
                skipped += 1
                stage.say(f"SKIPPED: {error}")
            except (Failed, subprocess.SubprocessError) as error:
                failed += 1
                stage.say(f"FAILED: {error}")
                stage.keep = True
            page = pathlib.Path(story.__doc__).name
            report.append(f"## {name}: [{page}]({page})\n\n```text\n" + "\n".join(stage.seen) + "\n```\n\n" + stage.table() + "\n")
    if args.report:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
        head = ("# The worst night, as it was played\n\n"
                f"`scripts/worst-night --only {args.only} --outage {args.outage:.0f}`, commit {commit}, {time.strftime('%Y-%m-%d')}, "
                f"Linux {platform.release()}, {os.cpu_count()} cores. The tables have a row where something changed.\n\n")
        args.report.write_text(head + "\n".join(report))
    print(f"\nworst night: {len(report)} stories, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

/** Cases, test records, waiting and restarting: what common/harness.py is for the Python suites. */
final class Harness {
    static final long BASE_TIME = System.currentTimeMillis() / 1000 * 1000;
    static final int MIB = 1 << 20;

    private final String only;
    private int ran;
    private int failed;

    Harness(String only) {
        this.only = only;
    }

    interface Body {
        void run() throws Exception;
    }

    void run(String name, Body body) {
        if (!name.contains(only)) {
            return;
        }
        System.out.println("RUN " + name);
        ran++;
        long begun = System.nanoTime();
        try {
            body.run();
            System.out.printf("ok %s %.2fs%n", name, (System.nanoTime() - begun) / 1e9);
        } catch (Throwable error) {
            failed++;
            error.printStackTrace();
            String reason = error.toString().replaceAll("\\s+", " ");
            reason = reason.length() > 600 ? reason.substring(0, 600) : reason;
            System.out.printf("FAIL %s %.2fs: %s%n", name, (System.nanoTime() - begun) / 1e9, reason);
        }
    }

    void end() {
        if (ran == 0) {
            System.out.println("no case matches");
        }
        System.out.flush();
        Runtime.getRuntime().halt(failed > 0 || ran == 0 ? 1 : 0);
    }

    static void check(boolean condition, String message) {
        if (!condition) {
            throw new AssertionError(message);
        }
    }

    static void equal(Object found, Object wanted, String what) {
        boolean same = found instanceof byte[] && wanted instanceof byte[]
            ? Arrays.equals((byte[]) found, (byte[]) wanted)
            : java.util.Objects.equals(found, wanted);
        if (!same && found instanceof List<?> left && wanted instanceof List<?> right
                && left.size() + right.size() > 20) {
            int at = 0;
            while (at < left.size() && at < right.size() && left.get(at).equals(right.get(at))) {
                at++;
            }
            throw new AssertionError(what + ": " + left.size() + " found, " + right.size() + " wanted, the first "
                + "difference at " + at + ": found " + show(left.subList(at, Math.min(at + 5, left.size())))
                + ", wanted " + show(right.subList(at, Math.min(at + 5, right.size()))));
        }
        if (!same) {
            throw new AssertionError(what + ": found " + show(found) + ", wanted " + show(wanted));
        }
    }

    private static String show(Object value) {
        if (value instanceof byte[]) {
            return ((byte[]) value).length + " bytes";
        }
        String text = String.valueOf(value);
        return text.length() > 300 ? text.substring(0, 300) + "..." : text;
    }

    static void await(int seconds, BooleanSupplier condition, Supplier<String> message) throws InterruptedException {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("not within " + seconds + " s: " + message.get());
            }
            Thread.sleep(20);
        }
    }

    static <E extends Throwable> void expect(Class<E> wanted, Callable<?> action) {
        try {
            action.call();
        } catch (Throwable error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                if (wanted.isInstance(cause)) {
                    return;
                }
            }
            throw new AssertionError("wanted " + wanted.getSimpleName() + ", got " + error);
        }
        throw new AssertionError("no " + wanted.getSimpleName());
    }

    static void restart() throws Exception {
        String command = System.getenv("RESTART_CMD");
        check(command != null, "RESTART_CMD is not set: run this through scripts/run-clients");
        Process process = new ProcessBuilder("sh", "-c", command).inheritIO().start();
        check(process.waitFor() == 0, "the restart command failed");
    }

    /** A record as it is produced; header values may be null. */
    record Rec(int partition, long timestamp, byte[] key, byte[] value, String[] names, byte[][] headers) { }

    static List<Rec> records(String tag, int count) {
        Random noise = new Random(tag.hashCode());
        byte[] all = new byte[256];
        for (int index = 0; index < 256; index++) {
            all[index] = (byte) index;
        }
        List<Rec> records = new ArrayList<>();
        for (int index = 0; index < count; index++) {
            byte[][] keys = {null, {}, ("key-" + tag + index).getBytes(), {0, -1, (byte) index}};
            byte[] random = new byte[1000];
            noise.nextBytes(random);
            byte[][] values = {null, {}, ("value-" + tag + index).getBytes(),
                "again and again ".repeat(640).getBytes(), random};
            byte[] value = values[index % 5];
            if (index == count / 2) {
                byte[] half = new byte[MIB / 2];
                noise.nextBytes(half);
                value = Arrays.copyOf(half, MIB);
            }
            String[][] names = {{}, {"trace"}, {"same", "same", "bytes"}};
            byte[][][] headers = {{}, {"abc".getBytes()}, {{}, null, all}};
            records.add(new Rec(index % 3, BASE_TIME + index, keys[index % 4], value,
                names[index % 3], headers[index % 3]));
        }
        return records;
    }
}

import java.util.concurrent.locks.LockSupport;

/** Sleeps a millisecond at a time and measures how much longer it took to be back at work. */
final class Sleeper extends Thread {
    private static final long SLEEP_NS = 1_000_000;

    final Histogram late = new Histogram();
    volatile boolean stop;
    private volatile int[] beacon = {1};

    Sleeper() {
        super("sleeper");
    }

    @Override
    public void run() {
        while (!stop) {
            long beganNs = System.nanoTime();
            long passedNs;
            do {
                LockSupport.parkNanos(SLEEP_NS - (System.nanoTime() - beganNs));
                passedNs = System.nanoTime() - beganNs;
            } while (passedNs < SLEEP_NS);
            if (beacon[0] != 1) {
                throw new AssertionError("the beacon is there");
            }
            late.add(System.nanoTime() - beganNs - SLEEP_NS);
        }
    }
}

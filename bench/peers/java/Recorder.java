import java.io.DataOutputStream;
import java.io.IOException;

/** Times the operations of one thread, each from the end of the one before: no stop can hide between two. */
final class Recorder {
    private static final long STALL_NS = 20_000;
    private static final int STALLS_MAX = 1 << 20;

    final Histogram histogram = new Histogram();
    long lastNs;
    long dropped;
    private final long beganNs;
    /** Begin and duration of the long ones, by turns. */
    private final long[] stalls = new long[2 * STALLS_MAX];
    private int stallWords;

    Recorder(long beganNs) {
        this.beganNs = beganNs;
        this.lastNs = System.nanoTime() - beganNs;
    }

    /** An operation has ended. */
    void note() {
        long nowNs = System.nanoTime() - beganNs;
        long tookNs = nowNs - lastNs;
        histogram.add(tookNs);
        if (tookNs >= STALL_NS) {
            if (stallWords < stalls.length) {
                stalls[stallWords++] = lastNs;
                stalls[stallWords++] = tookNs;
            } else {
                dropped++;
            }
        }
        lastNs = nowNs;
    }

    /** Writes the long operations: thread, begin and duration, as little-endian words. */
    void write(long thread, DataOutputStream to) throws IOException {
        for (int i = 0; i < stallWords; i += 2) {
            to.writeLong(Long.reverseBytes(thread));
            to.writeLong(Long.reverseBytes(stalls[i]));
            to.writeLong(Long.reverseBytes(stalls[i + 1]));
        }
    }
}

/** Counts of durations in nanoseconds. 32 buckets for each power of two: a bucket is at most 3 % wide. */
final class Histogram {
    private final long[] counts = new long[60 * 32];
    private long maxNs;

    static int bucket(long ns) {
        int shift = 63 - Long.numberOfLeadingZeros(ns >>> 5);
        return shift < 0 ? (int) ns : (shift + 1 << 5) + (int) (ns >>> shift) - 32;
    }

    void add(long ns) {
        counts[bucket(ns)]++;
        maxNs = Math.max(maxNs, ns);
    }

    void merge(Histogram other) {
        for (int i = 0; i < counts.length; i++) {
            counts[i] += other.counts[i];
        }
        maxNs = Math.max(maxNs, other.maxNs);
    }

    String json() {
        StringBuilder json = new StringBuilder("{\"max_ns\":").append(maxNs).append(",\"buckets\":{");
        String comma = "";
        for (int i = 0; i < counts.length; i++) {
            if (counts[i] > 0) {
                json.append(comma).append('"').append(i).append("\":").append(counts[i]);
                comma = ",";
            }
        }
        return json.append("}}").toString();
    }
}

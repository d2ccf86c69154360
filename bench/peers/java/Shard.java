import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.zip.CRC32;

/** A thread's share of the records: which operation comes next, and which record has been unused for longest. */
final class Shard {
    static final long DIGEST_BASIS = 0xcbf29ce484222325L;
    private static final long DIGEST_PRIME = 0x100000001b3L;
    private static final long MULTIPLIER = 6364136223846793005L;
    private static final long INCREMENT = 1442695040888963407L;
    private static final int PAYLOAD_MEAN = 240;
    private static final int PAYLOAD_MIN = 128;
    private static final int DRIFT_MAX = 96;
    private static final int TEXT_STARTS = 1 << 16;
    private static final int TEXT_EXTRA = 1 << 10;

    private final Record[] table;
    private final String text;
    private final long records;
    private final int firstId;
    /** The key used at each time, or -1: a ring. */
    private final int[] history;
    private final int mask;
    private long state;
    private int now;
    private int oldest;

    long hits;
    long misses;
    long inserts;
    long replacements;
    long evictions;
    long checksum;
    long liveRecords;
    long livePayloadBytes;

    Shard(String text, long seed, int number, int records) {
        this.table = new Record[2 * records];
        this.text = text;
        this.state = seed * 0x9e3779b97f4a7c15L + number * 0xd1b54a32d192ed03L;
        this.records = records;
        this.firstId = number * 2 * records;
        int length = 1 << 32 - Integer.numberOfLeadingZeros(4 * records - 1);
        this.history = new int[length];
        this.mask = length - 1;
        Arrays.fill(history, -1);
    }

    /** The text that payloads are cut from: lower-case letters. */
    static String text(long seed) {
        byte[] letters = new byte[TEXT_STARTS + TEXT_EXTRA];
        long state = seed;
        for (int i = 0; i < letters.length; i++) {
            state = state * MULTIPLIER + INCREMENT;
            long bits = state ^ state >>> 33;
            letters[i] = (byte) ('a' + ((bits >>> 32 & 0xffff) * 26 >>> 16));
        }
        return new String(letters, StandardCharsets.ISO_8859_1);
    }

    private long next() {
        state = state * MULTIPLIER + INCREMENT;
        return state ^ state >>> 33;
    }

    /** Stores the next of the records that are there at the start. */
    void fill() {
        long bits = next();
        put((int) (2 * now + (bits & 1)), bits);
        now++;
    }

    /** Does the next operation. */
    void step() {
        long bits = next();
        int key = (int) ((bits >>> 32) * 2 * records >>> 32);
        if ((bits & 3) == 0) {
            get(key);
        } else {
            put(key, bits);
        }
        now++;
    }

    private void get(int key) {
        Record record = table[key];
        if (record == null) {
            misses++;
            history[now & mask] = -1;
            return;
        }
        record.visits++;
        record.times[1] = now;
        hits++;
        checksum += record.size + record.payload.charAt(record.payload.length() - 1);
        history[now & mask] = key;
    }

    private void put(int key, long bits) {
        long phase = now % (4 * records);
        long height = Math.min(phase, 4 * records - phase);
        int size = (int) (PAYLOAD_MIN + height * DRIFT_MAX / (2 * records) + (bits >>> 8 & 0x7f));
        int start = (int) (bits >>> 16) & TEXT_STARTS - 1;
        String payload = text.substring(start, start + size);
        Record record = table[key];
        if (record == null) {
            table[key] = new Record(firstId + key, now, payload);
            inserts++;
            liveRecords++;
            livePayloadBytes += size;
        } else {
            livePayloadBytes += size - record.size;
            record.payload = payload;
            record.size = size;
            record.times[1] = now;
            replacements++;
        }
        history[now & mask] = key;
        evict();
    }

    private void evict() {
        while (livePayloadBytes > PAYLOAD_MEAN * records) {
            int key = history[oldest & mask];
            Record record = key < 0 ? null : table[key];
            if (record != null && record.times[1] == oldest) {
                table[key] = null;
                evictions++;
                liveRecords--;
                livePayloadBytes -= record.size;
            }
            oldest++;
        }
        if (now - oldest > mask) {
            throw new AssertionError("the history is too short");
        }
    }

    /** Continues a digest with every record alive, in the order of their keys. */
    long digest(long digest) {
        CRC32 crc = new CRC32();
        long found = 0;
        long bytes = 0;
        for (Record record : table) {
            if (record == null) {
                continue;
            }
            crc.reset();
            crc.update(record.payload.getBytes(StandardCharsets.ISO_8859_1));
            digest = (digest ^ ((long) record.times[1] << 32 | crc.getValue())) * DIGEST_PRIME;
            digest = (digest ^ ((long) record.id << 32 | record.visits)) * DIGEST_PRIME;
            digest = (digest ^ record.times[0]) * DIGEST_PRIME;
            found++;
            bytes += record.payload.length();
        }
        if (found != liveRecords || bytes != livePayloadBytes) {
            throw new AssertionError("records were lost: " + found + " of " + bytes + " bytes");
        }
        return digest;
    }
}

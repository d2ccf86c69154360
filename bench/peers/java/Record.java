/** A record of the workload. */
final class Record {
    final int id;
    int visits;
    int size;
    /** When it was made and when it was used last, in operations of its shard. */
    final int[] times;
    String payload;

    Record(int id, int now, String payload) {
        this.id = id;
        this.size = payload.length();
        this.times = new int[] {now, now};
        this.payload = payload;
    }
}

/** Fills and churns one shard. */
final class Mutator extends Thread {
    final Shard shard;
    Recorder recorder;
    /** When the last record was stored that is there at the start, in nanoseconds. */
    long filledNs;
    /** What ended the thread before its time. */
    Throwable error;
    private final int records;
    private final long operations;
    private final long beganNs;

    Mutator(Shard shard, int records, long operations, long beganNs) {
        super("mutator");
        this.shard = shard;
        this.records = records;
        this.operations = operations;
        this.beganNs = beganNs;
    }

    @Override
    public void run() {
        try {
            recorder = new Recorder(beganNs);
            for (int i = 0; i < records; i++) {
                shard.fill();
                recorder.note();
            }
            filledNs = recorder.lastNs;
            for (long i = 0; i < operations; i++) {
                shard.step();
                recorder.note();
            }
        } catch (Throwable thrown) {
            error = thrown;
        }
    }
}

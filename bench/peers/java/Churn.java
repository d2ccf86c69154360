import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

/** The workload of README.md on the Java heap. Prints one line of JSON. */
public final class Churn {
    private Churn() {}

    public static void main(String[] words) throws IOException, InterruptedException {
        Map<String, String> args = new HashMap<>(Map.of(
                "--records", "4000000", "--operations", "12000000", "--threads", "2", "--seed", "1", "--stalls", "", "--budget", ""));
        for (int i = 0; i < words.length; i += 2) {
            if (i + 1 == words.length || args.replace(words[i], words[i + 1]) == null) {
                System.err.println("churn: unknown argument or no value: " + words[i]);
                System.exit(2);
            }
        }
        int threads = Integer.parseInt(args.get("--threads"));
        int records = Integer.parseInt(args.get("--records")) / threads;
        long operations = Long.parseLong(args.get("--operations")) / threads;
        long seed = Long.parseUnsignedLong(args.get("--seed"));
        String text = Shard.text(seed);
        Shard[] shards = new Shard[threads];
        for (int i = 0; i < threads; i++) {
            shards[i] = new Shard(text, seed, i, records);
        }
        long beganNs = System.nanoTime();
        Mutator[] mutators = new Mutator[threads];
        Sleeper sleeper = new Sleeper();
        sleeper.start();
        for (int i = 0; i < threads; i++) {
            mutators[i] = new Mutator(shards[i], records, operations, beganNs);
            mutators[i].start();
        }
        for (Mutator mutator : mutators) {
            mutator.join();
        }
        sleeper.stop = true;
        sleeper.join();
        for (Mutator mutator : mutators) {
            if (mutator.error != null) {
                throw new IllegalStateException("a mutator ended before its time", mutator.error);
            }
        }
        System.out.println(json(args, mutators, sleeper));
        // The caller looks at this process's memory before it lets it go.
        System.in.readAllBytes();
    }

    private static String json(Map<String, String> args, Mutator[] mutators, Sleeper sleeper) throws IOException {
        StringBuilder json = new StringBuilder("{\"runtime\":\"" + Runtime.version() + "\"");
        for (String name : new String[] {"records", "operations", "threads", "seed"}) {
            json.append(",\"").append(name).append("\":").append(args.get("--" + name));
        }
        Histogram operation = new Histogram();
        long digest = Shard.DIGEST_BASIS;
        long[] sums = new long[8];
        long fillNs = 0;
        long churnNs = 0;
        long dropped = 0;
        for (Mutator mutator : mutators) {
            Shard shard = mutator.shard;
            digest = shard.digest(digest);
            operation.merge(mutator.recorder.histogram);
            long[] counts = {
                shard.hits, shard.misses, shard.inserts, shard.replacements,
                shard.evictions, shard.checksum, shard.liveRecords, shard.livePayloadBytes
            };
            for (int i = 0; i < sums.length; i++) {
                sums[i] += counts[i];
            }
            fillNs = Math.max(fillNs, mutator.filledNs);
            churnNs = Math.max(churnNs, mutator.recorder.lastNs - mutator.filledNs);
            dropped += mutator.recorder.dropped;
        }
        String[] names = {
            "hits", "misses", "inserts", "replacements", "evictions", "checksum", "live_records", "live_payload_bytes"
        };
        for (int i = 0; i < sums.length; i++) {
            json.append(",\"").append(names[i]).append("\":").append(sums[i]);
        }
        writeStalls(args.get("--stalls"), mutators);
        return json.append(String.format(",\"digest\":\"%016x\"", digest))
                .append(",\"fill_ns\":").append(fillNs)
                .append(",\"churn_ns\":").append(churnNs)
                .append(",\"stalls_dropped\":").append(dropped)
                .append(",\"operation\":").append(operation.json())
                .append(",\"sleeper\":").append(sleeper.late.json())
                .append('}')
                .toString();
    }

    private static void writeStalls(String path, Mutator[] mutators) throws IOException {
        if (path.isEmpty()) {
            return;
        }
        try (DataOutputStream to = new DataOutputStream(new BufferedOutputStream(Files.newOutputStream(Path.of(path))))) {
            for (int i = 0; i < mutators.length; i++) {
                mutators[i].recorder.write(i, to);
            }
        }
    }
}

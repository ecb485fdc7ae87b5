import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;

/**
 * A peer of `make bench-model`: the same network in Kafka Streams, one record at a time, which is that library's way.
 *
 * <pre>
 * mvn -B -f tests/peers/scoring/streams package dependency:copy-dependencies -DoutputDirectory=target/lib
 * make bench-model FLAGS='--peer streams="exec java -cp \
 *     tests/peers/scoring/streams/target/classes:tests/peers/scoring/streams/target/lib/* Peer"'
 * </pre>
 *
 * At least once, on two threads. No window and no state, as of all peers. What it finds in its environment
 * stands in `--help` of `bench model`.
 */
public final class Peer {
    private static final int FEATURES = 8;
    private static final float LEAST_LOG_SPREAD = -5;
    private static final float MOST_LOG_SPREAD = 2;
    private static final float MOST_DEVIATION = 12;

    private Peer() {}

    public static void main(String[] arguments) throws IOException {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getenv("GROUP"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("KAFKA_BOOTSTRAP"));
        Path folder = Files.createTempDirectory("streams-peer");
        settings.put(StreamsConfig.STATE_DIR_CONFIG, folder.toString());
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 10);
        // As the other framework among the peers; its default of 100 ms would be most of its latency.
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");

        StreamsBuilder builder = new StreamsBuilder();
        var bytes = Serdes.ByteArray();
        builder.stream(System.getenv("KAFKA_TOPIC"), Consumed.with(bytes, bytes))
                .process(Scoring::new)
                .to(System.getenv("OUT_TOPIC"), Produced.with(bytes, bytes));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        // Whoever runs it sees that it has ended, and why.
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.ERROR) {
                Runtime.getRuntime().halt(1);
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close();
            streams.cleanUp();
            folder.toFile().delete();
        }));
        streams.start();
    }

    /** Scores the readings of a task's partition, in a session of its own, which begins when the task does. */
    private static final class Scoring implements Processor<byte[], byte[], byte[], byte[]> {
        private final ObjectMapper json = new ObjectMapper();
        private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
        private String[] signals;
        private float[] center;
        private float[] spread;
        private float clip;
        private OrtSession session;
        private ProcessorContext<byte[], byte[]> context;

        @Override
        public void init(ProcessorContext<byte[], byte[]> itsContext) {
            context = itsContext;
            String onnx = System.getenv("ONNX");
            try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
                JsonNode scaling = json.readTree(Path.of(onnx.replaceAll("\\.[^./]*$", "") + ".json").toFile());
                signals = json.convertValue(scaling.get("signals"), String[].class);
                center = json.convertValue(scaling.get("center"), float[].class);
                spread = json.convertValue(scaling.get("spread"), float[].class);
                clip = scaling.get("clip").floatValue();
                options.setIntraOpNumThreads(1);
                options.setInterOpNumThreads(1);
                session = environment.createSession(onnx, options);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            } catch (OrtException error) {
                throw new IllegalStateException(error);
            }
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            try {
                JsonNode reading = json.readTree(record.value());
                RecordMetadata place = context.recordMetadata().orElseThrow();
                ObjectNode told = json.createObjectNode().put("vehicle", reading.get("vehicle").textValue());
                told.putObject("source").put("partition", place.partition()).put("offset", place.offset());
                told.put("score", score(reading.get("signals")));
                context.forward(record.withValue(json.writeValueAsBytes(told)));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            } catch (OrtException error) {
                throw new IllegalStateException(error);
            }
        }

        /** The mean Student-t loss, 4 degrees of freedom, of what the other signals say of each signal. */
        private double score(JsonNode values) throws OrtException {
            int inputs = signals.length;
            float[] features = new float[inputs * FEATURES];
            float[] known = new float[inputs];
            for (int input = 0; input < inputs; input++) {
                JsonNode value = values.get(signals[input]);
                if (value != null && value.isNumber()) {
                    features[input * FEATURES] =
                            bounded((value.floatValue() - center[input]) / spread[input], -clip, clip);
                    known[input] = 1;
                }
            }
            float[][][] expected;
            try (OnnxTensor seen = tensor(features, inputs, FEATURES);
                    OnnxTensor there = tensor(known, inputs, 1);
                    OrtSession.Result result = session.run(Map.of("features", seen, "known", there))) {
                expected = (float[][][]) result.get(0).getValue();
            }
            double loss = 0;
            int count = 0;
            for (int input = 0; input < inputs; input++) {
                if (known[input] != 0) {
                    float[] head = expected[input][0];
                    double width = Math.exp(bounded(head[1], LEAST_LOG_SPREAD, MOST_LOG_SPREAD));
                    float deviation = (float) ((features[input * FEATURES] - head[0]) / width);
                    deviation = bounded(deviation, -MOST_DEVIATION, MOST_DEVIATION);
                    loss += 2.5 * Math.log1p(deviation * deviation / 4);
                    count++;
                }
            }
            return loss / Math.max(count, 1);
        }

        private OnnxTensor tensor(float[] numbers, int inputs, int width) throws OrtException {
            return OnnxTensor.createTensor(environment, FloatBuffer.wrap(numbers), new long[] {inputs, 1, width});
        }

        private static float bounded(float number, float least, float most) {
            return Math.min(Math.max(number, least), most);
        }

        @Override
        public void close() {
            try {
                session.close();
            } catch (OrtException error) {
                throw new IllegalStateException(error);
            }
        }
    }
}

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** Consumes `--count` messages as fast as they come and prints `READY`, `FIRST`, `DELAY p50 p99 max` (µs) and `LAST`. */
public final class Meter {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        int count = options.number("count", 1);
        int skip = options.number("skip", 0);
        boolean delay = options.on("delay");
        long[] delays = new long[delay ? count - skip : 0];
        AtomicInteger come = new AtomicInteger();
        CountDownLatch last = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(options.need("group"));
        consumer.setNamesrvAddr(options.need("namesrv"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(options.need("topic"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                int before = come.getAndIncrement();
                if (before == skip) {
                    Options.say("FIRST");
                }
                if (delay && before >= skip && before < count) {
                    delays[before - skip] = age(message.getBody());
                }
                if (before + 1 == count) {
                    last.countDown();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Options.say("READY");
        last.await();
        if (delay) {
            Arrays.sort(delays);
            Options.say("DELAY " + delays[(delays.length - 1) / 2] + " " + delays[(delays.length - 1) * 99 / 100] + " " + delays[delays.length - 1]);
        }
        Options.say("LAST");
        System.in.read(); // whoever measures reads our processor time now
        consumer.shutdown();
        System.exit(0);
    }

    private static long age(byte[] body) {
        int end = 0;
        while (body[end] != ' ') {
            end++;
        }
        long sent = Long.parseLong(new String(body, 0, end, StandardCharsets.US_ASCII));
        Instant now = Instant.now();
        return (now.getEpochSecond() * 1_000_000_000L + now.getNano() - sent) / 1000;
    }
}

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Collections;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.FilterExpressionType;
import org.apache.rocketmq.client.apis.consumer.PushConsumer;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;

/**
 * Consumes through a proxy, by push or with `--simple` by hand: `READY`, `GOT -1 -1 earlierDeliveries topic body` for each
 * delivery before it is acknowledged, `STOPPED` at the end of standard input or after SIGTERM. First deliveries that are
 * asked to fail (`--fail-first`) are not acknowledged; by hand, others are hidden for another time (`--hide-first`) and
 * acknowledged with the new receipt later.
 */
public final class GrpcConsume {
    private static volatile boolean stopping;

    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        ClientServiceProvider provider = ClientServiceProvider.loadService();
        ClientConfiguration client = ClientConfiguration.newBuilder().setEndpoints(options.need("proxy"))
            .setRequestTimeout(Duration.ofSeconds(20)).enableSsl(false).build();
        FilterExpression wanted = options.on("sql")
            ? new FilterExpression(options.need("sql"), FilterExpressionType.SQL92)
            : new FilterExpression(options.text("expr", "*"), FilterExpressionType.TAG);
        AutoCloseable consumer = options.on("simple") ? simple(provider, client, wanted, options) : push(provider, client, wanted, options);
        Thread end = new Thread(() -> {
            stopping = true;
            try {
                consumer.close();
            } catch (Exception failure) {
                Options.say("ERROR close " + Options.oneLine(failure));
            }
            Options.say("STOPPED");
        });
        Runtime.getRuntime().addShutdownHook(end);
        Options.say("READY");
        while (System.in.read() >= 0) {
            // Standard input carries nothing; only its end counts.
        }
        System.exit(0);
    }

    private static PushConsumer push(ClientServiceProvider provider, ClientConfiguration client, FilterExpression wanted,
        Options options) throws Exception {
        AtomicInteger toFail = new AtomicInteger(options.number("fail-first", 0));
        return provider.newPushConsumerBuilder().setClientConfiguration(client).setConsumerGroup(options.need("group"))
            .setSubscriptionExpressions(Collections.singletonMap(options.need("topic"), wanted))
            .setConsumptionThreadCount(4)
            .setMessageListener(message -> {
                say(message);
                return fails(message, toFail) ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
            }).build();
    }

    private static SimpleConsumer simple(ClientServiceProvider provider, ClientConfiguration client, FilterExpression wanted,
        Options options) throws Exception {
        AtomicInteger toFail = new AtomicInteger(options.number("fail-first", 0));
        AtomicInteger toHide = new AtomicInteger(options.number("hide-first", 0));
        SimpleConsumer consumer = provider.newSimpleConsumerBuilder().setClientConfiguration(client)
            .setConsumerGroup(options.need("group")).setAwaitDuration(Duration.ofSeconds(options.number("await", 5)))
            .setSubscriptionExpressions(Collections.singletonMap(options.need("topic"), wanted)).build();
        Duration invisible = Duration.ofSeconds(options.number("invisible", 10));
        Thread loop = new Thread(() -> {
            while (!stopping) {
                try {
                    for (MessageView message : consumer.receive(16, invisible)) {
                        say(message);
                        if (fails(message, toFail)) {
                            continue;
                        }
                        if (fails(message, toHide)) {
                            consumer.changeInvisibleDuration(message, Duration.ofSeconds(options.number("hidden", 30)));
                        }
                        consumer.ack(message);
                    }
                } catch (Exception failure) {
                    if (!stopping) {
                        Options.say("ERROR receive " + Options.oneLine(failure));
                        pause();
                    }
                }
            }
        });
        loop.setDaemon(true);
        loop.start();
        return consumer;
    }

    private static void pause() {
        try {
            Thread.sleep(200);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private static boolean fails(MessageView message, AtomicInteger left) {
        return message.getDeliveryAttempt() == 1 && left.getAndUpdate(count -> Math.max(0, count - 1)) > 0;
    }

    private static void say(MessageView message) {
        ByteBuffer buffer = message.getBody();
        byte[] body = new byte[buffer.remaining()];
        buffer.get(body);
        Options.say("GOT -1 -1 " + (message.getDeliveryAttempt() - 1) + " " + message.getTopic() + " " + Options.shown(body));
    }
}

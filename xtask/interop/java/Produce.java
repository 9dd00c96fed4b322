import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;

/**
 * Sends `--count` messages and prints `SENT id queue offset body` for each that was confirmed, `FAILED body reason` for each
 * that was not, and `DONE sent failed` at the end.
 */
public final class Produce {
    private final Options options;
    private final String topic;
    private final DefaultMQProducer producer;
    private final AtomicInteger sent = new AtomicInteger();
    private final AtomicInteger failed = new AtomicInteger();

    private Produce(Options options) {
        this.options = options;
        topic = options.need("topic");
        producer = new DefaultMQProducer(options.text("group", "interop_producer"));
        producer.setNamesrvAddr(options.need("namesrv"));
        options.trace(producer);
        producer.setInstanceName(options.text("instance", "produce"));
        producer.setSendMsgTimeout(options.number("timeout-ms", 15000));
        // Name servers are heard in time also where a busy machine takes seconds to connect.
        producer.setMqClientApiTimeout(options.number("timeout-ms", 15000));
        producer.setRetryAnotherBrokerWhenNotStoreOK(true);
    }

    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        options.tls();
        Produce produce = new Produce(options);
        produce.producer.start();
        produce.run();
        produce.producer.shutdown();
        Options.say("DONE " + produce.sent + " " + produce.failed);
        System.exit(produce.failed.get() == 0 ? 0 : 1);
    }

    private void run() throws Exception {
        int count = options.number("count", 1);
        int batch = options.number("batch", 1);
        for (int first = 0; first < count; first += batch) {
            List<Message> messages = new ArrayList<>();
            for (int i = first; i < Math.min(count, first + batch); i++) {
                messages.add(message(i));
            }
            if (options.on("async")) {
                sendAsync(messages.get(0));
            } else if (options.on("oneway")) {
                producer.sendOneway(messages.get(0));
                sent.incrementAndGet();
                Options.say("SENT - -1 -1 " + Options.shown(messages.get(0).getBody()));
            } else {
                send(messages);
            }
            if (options.on("pause-ms")) {
                Thread.sleep(options.number("pause-ms", 0));
            }
        }
        permits.acquire(IN_FLIGHT);
    }

    private Message message(int i) {
        String key = options.text("key-prefix", "m") + "-" + i;
        byte[] body = Options.body(key, options.number("body-size", 0));
        Message message = new Message(topic, options.text("tag", ""), key, body);
        if (options.on("property")) {
            String[] pair = options.need("property").split("=", 2);
            message.putUserProperty(pair[0], pair[1]);
        }
        if (options.on("priorities")) {
            // By the name of the property: clients of 4.9 have no method for it.
            int priority = i % options.number("priorities", 1);
            MessageAccessor.putProperty(message, "_SYS_MSG_PRIORITY_", Integer.toString(priority));
        }
        if (options.on("delay-level")) {
            message.setDelayTimeLevel(options.number("delay-level", 0));
        }
        return message;
    }

    private void send(List<Message> messages) throws InterruptedException {
        try {
            report(messages, messages.size() == 1 ? producer.send(messages.get(0)) : producer.send(messages));
        } catch (Exception failure) {
            lost(messages, failure);
            Thread.sleep(100); // a broker that is down answers at once: leave something to send for when it is back
        }
    }

    private static final int IN_FLIGHT = 64;
    private final Semaphore permits = new Semaphore(IN_FLIGHT);

    private void sendAsync(Message message) throws Exception {
        permits.acquire();
        try {
            producer.send(message, new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    report(List.of(message), result);
                    permits.release();
                }

                @Override
                public void onException(Throwable failure) {
                    lost(List.of(message), failure);
                    permits.release();
                }
            });
        } catch (Exception failure) {
            lost(List.of(message), failure);
            permits.release();
        }
    }

    private void report(List<Message> messages, SendResult result) {
        if (result.getSendStatus() != SendStatus.SEND_OK) {
            lost(messages, new IllegalStateException(result.getSendStatus().name()));
            return;
        }
        String[] ids = result.getMsgId().split(",");
        for (int i = 0; i < messages.size(); i++) {
            sent.incrementAndGet();
            Options.say("SENT " + ids[Math.min(i, ids.length - 1)] + " " + result.getMessageQueue().getQueueId() + " "
                + (result.getQueueOffset() + i) + " " + Options.shown(messages.get(i).getBody()));
        }
    }

    private void lost(List<Message> messages, Throwable failure) {
        for (Message message : messages) {
            failed.incrementAndGet();
            Options.say("FAILED " + Options.shown(message.getBody()) + " " + Options.oneLine(failure));
        }
    }
}

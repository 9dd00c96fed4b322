import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/**
 * Sends `--count` messages that are to come `--delay-ms` later, takes every `--recall-every`th back, and prints `SENT id queue
 * offset body` for each that was confirmed and left alone, `RECALLED body` for the others, and `DONE sent recalled` at the end.
 */
public final class Timed {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        DefaultMQProducer producer = new DefaultMQProducer("interop_timed");
        producer.setNamesrvAddr(options.need("namesrv"));
        producer.setSendMsgTimeout(15000);
        producer.start();
        String topic = options.need("topic");
        int every = options.number("recall-every", Integer.MAX_VALUE);
        int sent = 0;
        int recalled = 0;
        for (int i = 0; i < options.number("count", 1); i++) {
            String key = options.text("key-prefix", "m") + "-" + i;
            Message message = new Message(topic, "", key, Options.body(key, 0));
            if (i % 2 == 0) {
                message.setDelayTimeMs(options.number("delay-ms", 2000));
            } else {
                message.setDeliverTimeMs(System.currentTimeMillis() + options.number("delay-ms", 2000));
            }
            SendResult result = producer.send(message);
            if (i % every == every - 1) {
                String id = producer.recallMessage(topic, result.getRecallHandle());
                if (!id.equals(result.getMsgId())) {
                    throw new IllegalStateException("recalled " + id + " in place of " + result.getMsgId());
                }
                recalled++;
                Options.say("RECALLED " + key);
            } else {
                sent++;
                Options.say("SENT " + result.getMsgId() + " " + result.getMessageQueue().getQueueId() + " " + result.getQueueOffset()
                    + " " + key);
            }
        }
        producer.shutdown();
        Options.say("DONE " + sent + " " + recalled);
        System.exit(0);
    }
}

import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** A push consumer that replies `re:body` to each message: `READY`, `ANSWERED body`, `STOPPED`. */
public final class Answer {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        DefaultMQProducer producer = new DefaultMQProducer(options.need("group") + "_reply");
        producer.setNamesrvAddr(options.need("namesrv"));
        producer.setInstanceName("answer");
        producer.setSendMsgTimeout(15000);
        producer.start();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(options.need("group"));
        consumer.setNamesrvAddr(options.need("namesrv"));
        consumer.setInstanceName("answer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPullTimeDelayMillsWhenException(1000L);
        consumer.subscribe(options.need("topic"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                String body = new String(message.getBody(), StandardCharsets.UTF_8);
                try {
                    byte[] answer = ("re:" + body).getBytes(StandardCharsets.UTF_8);
                    producer.send(MessageUtil.createReplyMessage(message, answer), 15000);
                    Options.say("ANSWERED " + body);
                } catch (Exception failure) {
                    Options.say("FAILED " + body + " " + Options.oneLine(failure));
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Options.say("READY");
        while (System.in.read() >= 0) {
            // Standard input carries nothing; only its end counts.
        }
        consumer.shutdown();
        producer.shutdown();
        Options.say("STOPPED");
        System.exit(0);
    }
}

import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/** `PushConsume` in short, with what the client before version 5 has: no listener tells it its queues, so it looks. */
public final class OldPushConsume {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        String topic = options.need("topic");
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(options.need("group"));
        consumer.setNamesrvAddr(options.need("namesrv"));
        consumer.setInstanceName(options.text("instance", "consume"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, options.text("expr", "*"));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> Options.say("GOT " + message.getQueueId() + " " + message.getQueueOffset() + " "
                + message.getReconsumeTimes() + " " + message.getTopic() + " " + Options.shown(message.getBody())));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.shutdown();
            Options.say("STOPPED");
        }));
        Options.say("READY");
        String said = "[]";
        while (true) {
            String owned = consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().entrySet().stream()
                .filter(one -> one.getKey().getTopic().equals(topic) && !one.getValue().isDropped())
                .map(one -> one.getKey()).sorted()
                .map(queue -> queue.getBrokerName() + ":" + queue.getQueueId())
                .collect(Collectors.joining(",", "[", "]"));
            if (!owned.equals(said)) {
                Options.say("ASSIGNED " + topic + " " + owned);
                said = owned;
            }
            LockSupport.parkNanos(50_000_000L);
        }
    }
}

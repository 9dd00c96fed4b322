import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/**
 * A push consumer that prints `READY` once started, `ASSIGNED topic [broker:queue,...]` whenever its queues change,
 * `GOT queue offset reconsumeTimes topic body` for each delivery, and `STOPPED` at its end: end of standard input, or SIGTERM.
 */
public final class PushConsume {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        options.tls();
        AtomicInteger toFail = new AtomicInteger(options.number("fail-first", 0));
        boolean failAll = options.on("fail-all");
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(options.need("group"));
        consumer.setNamesrvAddr(options.need("namesrv"));
        options.trace(consumer);
        consumer.setInstanceName(options.text("instance", "consume"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        // Without it the broker says which queues there are, and whether they are pulled or popped.
        consumer.setClientRebalance(!options.on("broker-rebalance"));
        consumer.setPopInvisibleTime(options.number("invisible-ms", 60_000));
        consumer.setConsumeThreadMin(options.number("threads", 4));
        consumer.setConsumeThreadMax(options.number("threads", 4));
        consumer.setMaxReconsumeTimes(options.number("max-reconsume", -1));
        consumer.setMessageModel(options.on("broadcast") ? MessageModel.BROADCASTING : MessageModel.CLUSTERING);
        consumer.setMessageQueueListener((topic, all, mine) -> Options.say("ASSIGNED " + topic + " " + queues(mine)));
        if (options.on("sql")) {
            consumer.subscribe(options.need("topic"), MessageSelector.bySql(options.need("sql")));
        } else {
            consumer.subscribe(options.need("topic"), options.text("expr", "*"));
        }
        if (options.on("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) ->
                taken(messages, toFail) && !failAll ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) ->
                taken(messages, toFail) && !failAll ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER);
        }
        consumer.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.shutdown();
            Options.say("STOPPED");
        }));
        Options.say("READY");
        while (System.in.read() >= 0) {
            // Standard input carries nothing; only its end counts.
        }
        System.exit(0);
    }

    private static String queues(Set<org.apache.rocketmq.common.message.MessageQueue> queues) {
        return queues.stream().sorted().map(queue -> queue.getBrokerName() + ":" + queue.getQueueId())
            .collect(Collectors.joining(",", "[", "]"));
    }

    /** Prints the messages; false for as many first deliveries as were asked to fail. */
    private static boolean taken(List<MessageExt> messages, AtomicInteger toFail) {
        boolean taken = true;
        for (MessageExt message : messages) {
            Options.say("GOT " + message.getQueueId() + " " + message.getQueueOffset() + " " + message.getReconsumeTimes() + " "
                + message.getTopic() + " " + Options.shown(message.getBody()));
            if (message.getReconsumeTimes() == 0 && toFail.getAndUpdate(left -> Math.max(0, left - 1)) > 0) {
                taken = false;
            }
        }
        return taken;
    }
}

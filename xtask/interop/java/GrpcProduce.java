import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.SendReceipt;

/** Sends through a proxy: `SENT id -1 -1 body` for each message, `FAILED body reason`, and `DONE sent failed` at the end. */
public final class GrpcProduce {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        String topic = options.need("topic");
        ClientServiceProvider provider = ClientServiceProvider.loadService();
        ClientConfiguration client =
            ClientConfiguration.newBuilder().setEndpoints(options.need("proxy")).enableSsl(false).build();
        int sent = 0;
        int failed = 0;
        try (Producer producer = provider.newProducerBuilder().setClientConfiguration(client).setTopics(topic).build()) {
            for (int i = 0; i < options.number("count", 1); i++) {
                String body = options.text("key-prefix", "key") + "-" + i;
                MessageBuilder message = provider.newMessageBuilder().setTopic(topic).setKeys(body)
                    .setTag(options.text("tag", "tag")).setBody(body.getBytes(StandardCharsets.UTF_8));
                if (options.on("message-groups")) {
                    message.setMessageGroup("group-" + i % options.number("message-groups", 1));
                }
                if (options.on("delay-ms")) {
                    message.setDeliveryTimestamp(System.currentTimeMillis() + options.number("delay-ms", 0));
                }
                try {
                    SendReceipt receipt = producer.send(message.build());
                    Options.say("SENT " + receipt.getMessageId() + " -1 -1 " + body);
                    sent++;
                } catch (Exception failure) {
                    Options.say("FAILED " + body + " " + Options.oneLine(failure));
                    failed++;
                }
            }
        }
        Options.say("DONE " + sent + " " + failed);
        System.exit(failed == 0 ? 0 : 1);
    }
}

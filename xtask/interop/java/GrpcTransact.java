import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.SendReceipt;
import org.apache.rocketmq.client.apis.producer.Transaction;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;

/** What {@link Transact} does, through a proxy. */
public final class GrpcTransact {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        String topic = options.need("topic");
        ClientServiceProvider provider = ClientServiceProvider.loadService();
        ClientConfiguration client = ClientConfiguration.newBuilder().setEndpoints(options.need("proxy"))
            .setRequestTimeout(Duration.ofSeconds(20)).enableSsl(false).build();
        int sent = 0;
        int failed = 0;
        try (Producer producer = provider.newProducerBuilder().setClientConfiguration(client).setTopics(topic)
            .setTransactionChecker(GrpcTransact::check).build()) {
            for (int i = 0; i < options.number("count", 1); i++) {
                String body = options.text("key-prefix", "t") + "-" + i;
                try {
                    Transaction transaction = producer.beginTransaction();
                    SendReceipt receipt = producer.send(provider.newMessageBuilder().setTopic(topic).setKeys(body)
                        .setBody(body.getBytes(StandardCharsets.UTF_8)).build(), transaction);
                    Options.say("SENT " + receipt.getMessageId() + " -1 -1 " + body);
                    sent++;
                    if (i % 4 == 0) {
                        transaction.commit();
                    } else if (i % 4 == 1) {
                        transaction.rollback();
                    }
                } catch (Exception failure) {
                    Options.say("FAILED " + body + " " + Options.oneLine(failure));
                    failed++;
                }
            }
            Options.say("DONE " + sent + " " + failed);
            while (System.in.read() >= 0) {
                // Standard input carries nothing; only its end counts.
            }
        }
        Options.say("STOPPED");
        System.exit(failed == 0 ? 0 : 1);
    }

    private static TransactionResolution check(MessageView message) {
        ByteBuffer buffer = message.getBody();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        String body = new String(bytes, StandardCharsets.UTF_8);
        boolean commits = Integer.parseInt(body.substring(body.lastIndexOf('-') + 1)) % 2 == 0;
        TransactionResolution verdict = commits ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK;
        Options.say("CHECKED " + body + " " + verdict);
        return verdict;
    }
}

import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Sends messages in transactions: `SENT id queue offset body` for each half message that is stored, `ENDED body verdict`,
 * `CHECKED body verdict` when the broker has asked, `DONE sent failed`; then answers questions until its input ends. Verdicts go
 * by the number of the message: 0 commits, 1 rolls back, 2 is unknown and commits when asked, 3 is unknown and rolls back then.
 */
public final class Transact {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        String topic = options.need("topic");
        TransactionMQProducer producer = new TransactionMQProducer(options.text("group", "interop_transactions"));
        producer.setNamesrvAddr(options.need("namesrv"));
        producer.setInstanceName(options.text("instance", "transact"));
        producer.setSendMsgTimeout(15000);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                int kind = options.on("leave-open") ? 2 : number(message.getBody()) % 4;
                LocalTransactionState verdict = kind == 0 ? LocalTransactionState.COMMIT_MESSAGE
                    : kind == 1 ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW;
                Options.say("ENDED " + Options.shown(message.getBody()) + " " + verdict);
                return verdict;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                LocalTransactionState verdict = number(message.getBody()) % 2 == 0
                    ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
                Options.say("CHECKED " + Options.shown(message.getBody()) + " " + verdict);
                return verdict;
            }
        });
        producer.start();
        int sent = 0;
        int failed = 0;
        if (options.on("only-answer")) {
            // Brokers ask only producers that they have heard of: those that have sent.
            producer.send(new Message("Knock", new byte[] {1}));
        }
        for (int i = 0; i < options.number("count", 1) && !options.on("only-answer"); i++) {
            String body = options.text("key-prefix", "t") + "-" + i;
            Message message = new Message(topic, "", body, body.getBytes(StandardCharsets.UTF_8));
            try {
                TransactionSendResult result = producer.sendMessageInTransaction(message, null);
                if (result.getSendStatus() != SendStatus.SEND_OK) {
                    throw new IllegalStateException(result.getSendStatus().name());
                }
                Options.say("SENT " + result.getMsgId() + " " + result.getMessageQueue().getQueueId() + " "
                    + result.getQueueOffset() + " " + body);
                sent++;
            } catch (Exception failure) {
                Options.say("FAILED " + body + " " + Options.oneLine(failure));
                failed++;
            }
        }
        Options.say("DONE " + sent + " " + failed);
        while (System.in.read() >= 0) {
            // Standard input carries nothing; only its end counts.
        }
        producer.shutdown();
        Options.say("STOPPED");
        System.exit(failed == 0 ? 0 : 1);
    }

    private static int number(byte[] body) {
        String text = new String(body, StandardCharsets.UTF_8);
        return Integer.parseInt(text.substring(text.lastIndexOf('-') + 1));
    }
}

import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;

/** Asks and waits for replies: `REPLY body` for each reply, `FAILED reason`, `DONE replies failed`. */
public final class Request {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        DefaultMQProducer producer = new DefaultMQProducer(options.text("group", "interop_asker"));
        producer.setNamesrvAddr(options.need("namesrv"));
        producer.setInstanceName(options.text("instance", "request"));
        producer.setSendMsgTimeout(15000);
        producer.start();
        int replies = 0;
        int failed = 0;
        for (int i = 0; i < options.number("count", 1); i++) {
            byte[] body = (options.text("key-prefix", "q") + "-" + i).getBytes(StandardCharsets.UTF_8);
            try {
                Message reply = producer.request(new Message(options.need("topic"), "", body), 20000);
                Options.say("REPLY " + new String(reply.getBody(), StandardCharsets.UTF_8));
                replies++;
            } catch (Exception failure) {
                Options.say("FAILED " + Options.oneLine(failure));
                failed++;
            }
        }
        producer.shutdown();
        Options.say("DONE " + replies + " " + failed);
        System.exit(failed == 0 ? 0 : 1);
    }
}

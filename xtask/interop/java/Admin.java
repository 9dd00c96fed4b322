import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Asks what the admin client of Java can ask. Takes one verb with its arguments from the command line, or, without any, one
 * per line of standard input, so that many questions cost one JVM. Results are lines; then comes `OK verb` or `ERROR verb reason`.
 */
public final class Admin {
    private final DefaultMQAdminExt admin;
    private final String namesrv;

    private Admin(String namesrv) {
        this.namesrv = namesrv;
        admin = new DefaultMQAdminExt(8000L);
        admin.setNamesrvAddr(namesrv);
        admin.setInstanceName("admin");
    }

    public static void main(String[] args) throws Exception {
        Admin asker = new Admin(args[0]);
        asker.admin.start();
        boolean well = true;
        if (args.length > 1) {
            well = asker.ask(Arrays.asList(args).subList(1, args.length));
        } else {
            BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                well &= asker.ask(List.of(line.trim().split(" +")));
            }
        }
        asker.admin.shutdown();
        System.exit(well ? 0 : 1);
    }

    private boolean ask(List<String> words) {
        String verb = words.get(0);
        try {
            run(verb, words.subList(1, words.size()));
            Options.say("OK " + verb);
            return true;
        } catch (Throwable failure) {
            Options.say("ERROR " + verb + " " + Options.oneLine(failure));
            return false;
        }
    }

    private void run(String verb, List<String> args) throws Exception {
        switch (verb) {
            case "createTopic" -> createTopic(args.get(0), args.get(1), Integer.parseInt(args.get(2)));
            case "deleteTopic" -> admin.deleteTopic(args.get(1), args.get(0));
            case "createGroup" -> createGroup(args.get(0), args.get(1));
            case "topicRoute" -> topicRoute(args.get(0));
            case "topicStats" -> topicStats(args.get(0));
            case "consumeStats" -> consumeStats(args.get(0));
            case "clusterInfo" -> clusterInfo();
            case "consumerConnection" -> consumerConnection(args.get(0));
            case "producerConnection" -> producerConnection(args.get(0), args.get(1));
            case "resetOffset" -> new TreeMap<>(admin.resetOffsetByTimestamp(args.get(1), args.get(0), Long.parseLong(args.get(2)), true))
                .forEach((queue, offset) -> Options.say("RESET " + name(queue) + " " + offset));
            case "searchOffset" -> Options.say("AT " + admin.searchOffset(
                new MessageQueue(args.get(0), args.get(1), Integer.parseInt(args.get(2))), Long.parseLong(args.get(3))));
            case "viewMessage" -> message(admin.viewMessage(args.get(0), args.get(1)));
            case "queryKey" -> admin.queryMessage(args.get(0), args.get(1), 64, 0, Long.MAX_VALUE).getMessageList().forEach(this::message);
            case "brokerConfig" -> properties(admin.getBrokerConfig(args.get(0)));
            case "setBrokerConfig" -> setBrokerConfig(args.get(0), args.get(1), args.get(2));
            case "brokerStatus" -> new TreeMap<>(admin.fetchBrokerRuntimeStats(args.get(0)).getTable())
                .forEach((key, value) -> Options.say("STATUS " + key + "=" + value));
            case "putKv" -> admin.createAndUpdateKvConfig(args.get(0), args.get(1), args.get(2));
            case "getKv" -> Options.say("VALUE " + admin.getKVConfig(args.get(0), args.get(1)));
            case "consumeDirectly" -> Options.say("RESULT " + admin.consumeMessageDirectly(args.get(0), args.get(1), args.get(2), args.get(3)));
            case "console" -> new Console(namesrv, args.get(0), args.get(1), args.get(2), args.get(3)).ask();
            case "mqadmin" -> complain(args.get(0), mqadmin(args));
            case "mqadminFor" -> interrupted(Long.parseLong(args.get(0)), args.subList(1, args.size()));
            default -> throw new IllegalArgumentException("no such verb");
        }
    }

    private void createTopic(String broker, String topic, int queues) throws Exception {
        admin.createAndUpdateTopicConfig(broker, new TopicConfig(topic, queues, queues));
    }

    private void createGroup(String broker, String group) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
    }

    private void topicRoute(String topic) throws Exception {
        TopicRouteData route = admin.examineTopicRouteInfo(topic);
        for (BrokerData broker : route.getBrokerDatas()) {
            broker.getBrokerAddrs().forEach((id, address) -> Options.say("BROKER " + broker.getCluster() + " " + broker.getBrokerName() + " " + id + " " + address));
        }
        for (QueueData queue : route.getQueueDatas()) {
            Options.say("QUEUES " + queue.getBrokerName() + " read=" + queue.getReadQueueNums() + " write=" + queue.getWriteQueueNums() + " perm=" + queue.getPerm());
        }
    }

    private void topicStats(String topic) throws Exception {
        new TreeMap<>(admin.examineTopicStats(topic).getOffsetTable())
            .forEach((queue, offsets) -> Options.say("QUEUE " + name(queue) + " " + offsets.getMinOffset() + " " + offsets.getMaxOffset()));
    }

    private void consumeStats(String group) throws Exception {
        new TreeMap<>(admin.examineConsumeStats(group).getOffsetTable()).forEach((queue, offsets) ->
            Options.say("OFFSET " + queue.getTopic() + " " + name(queue) + " " + offsets.getBrokerOffset() + " " + offsets.getConsumerOffset()));
    }

    private void clusterInfo() throws Exception {
        admin.examineBrokerClusterInfo().getBrokerAddrTable().forEach((name, broker) -> broker.getBrokerAddrs()
            .forEach((id, address) -> Options.say("BROKER " + broker.getCluster() + " " + name + " " + id + " " + address)));
    }

    private void consumerConnection(String group) throws Exception {
        var connections = admin.examineConsumerConnectionInfo(group);
        connections.getConnectionSet().forEach(one -> Options.say("CLIENT " + one.getClientId() + " " + one.getClientAddr() + " " + one.getLanguage() + " " + one.getVersion()));
        connections.getSubscriptionTable().forEach((topic, wanted) -> Options.say("SUBSCRIBES " + topic + " " + wanted.getSubString()));
        Options.say("MODEL " + connections.getConsumeType() + " " + connections.getMessageModel() + " " + connections.getConsumeFromWhere());
    }

    private void producerConnection(String group, String topic) throws Exception {
        admin.examineProducerConnectionInfo(group, topic).getConnectionSet()
            .forEach(one -> Options.say("CLIENT " + one.getClientId() + " " + one.getClientAddr() + " " + one.getLanguage() + " " + one.getVersion()));
    }

    private void setBrokerConfig(String broker, String key, String value) throws Exception {
        Properties change = new Properties();
        change.setProperty(key, value);
        admin.updateBrokerConfig(broker, change);
    }

    private void properties(Properties properties) {
        new TreeMap<>(properties).forEach((key, value) -> Options.say("CONFIG " + key + "=" + value));
    }

    private void message(MessageExt message) {
        Options.say("MESSAGE " + message.getMsgId() + " " + message.getTopic() + " " + message.getQueueId() + " " + message.getQueueOffset() + " "
            + message.getTags() + " " + message.getKeys() + " " + Options.shown(message.getBody()));
    }

    private static String name(MessageQueue queue) {
        return queue.getBrokerName() + ":" + queue.getQueueId();
    }

    /** A command that never ends by itself, for so many seconds. */
    private void interrupted(long seconds, List<String> args) {
        Thread caller = Thread.currentThread();
        ScheduledExecutorService alarm = Executors.newSingleThreadScheduledExecutor();
        // More than once, for a send may swallow it.
        alarm.scheduleAtFixedRate(caller::interrupt, seconds, 1, TimeUnit.SECONDS);
        try {
            mqadmin(args);
        } finally {
            alarm.shutdownNow();
            Thread.interrupted();
        }
    }

    private static void complain(String command, String printed) {
        // The name of an exception, not of a setting.
        if (printed.contains("Exception: ") || printed.contains("command failed")) {
            throw new IllegalStateException("mqadmin " + command + " complained");
        }
    }

    /** Apache's own command line, in this JVM; what it prints comes back as `| ` lines. */
    private String mqadmin(List<String> args) {
        String[] command = new String[args.size() + 2];
        command[0] = args.get(0);
        command[1] = "-n";
        command[2] = namesrv;
        for (int i = 1; i < args.size(); i++) {
            command[i + 2] = args.get(i);
        }
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream taken = new ByteArrayOutputStream();
        PrintStream capture = new PrintStream(taken, true, StandardCharsets.UTF_8);
        System.setOut(capture);
        System.setErr(capture);
        try {
            MQAdminStartup.main0(command, null);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        String printed = taken.toString(StandardCharsets.UTF_8);
        printed.lines().forEach(line -> Options.say("| " + line));
        return printed;
    }
}

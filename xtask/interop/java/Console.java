import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.body.CMResult;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Asks everything that Apache's dashboard and its Prometheus exporter ask, as they ask it: each call of `MQAdminExt` in their
 * sources, through the VIP channel, which the dashboard switches on. Says `RIGHT call` or `WRONG call reason`.
 */
final class Console {
    /** What the exporter reads of a broker's state; a key that is missing or no number ends its round. */
    private static final List<String> NUMBERS = List.of(
        "bootTimestamp", "msgPutTotalTodayNow", "msgGetTotalTodayNow", "msgPutTotalYesterdayMorning", "msgGetTotalYesterdayMorning", "msgPutTotalTodayMorning",
        "msgGetTotalTodayMorning", "sendThreadPoolQueueHeadWaitTimeMills", "queryThreadPoolQueueHeadWaitTimeMills", "pullThreadPoolQueueHeadWaitTimeMills",
        "sendThreadPoolQueueSize", "queryThreadPoolQueueSize", "pullThreadPoolQueueSize", "sendThreadPoolQueueCapacity", "queryThreadPoolQueueCapacity",
        "pullThreadPoolQueueCapacity", "commitLogMinOffset", "commitLogMaxOffset", "dispatchMaxBuffer", "dispatchBehindBytes", "consumeQueueDiskRatio",
        "commitLogDiskRatio", "pageCacheLockTimeMills", "getMessageEntireTimeMax", "putMessageEntireTimeMax", "putMessageTimesTotal", "putMessageSizeTotal",
        "putMessageAverageSize", "startAcceptSendRequestTimeStamp", "earliestMessageTimeStamp", "remainTransientStoreBufferNumbs", "putLatency99", "putLatency999");

    private final DefaultMQAdminExt admin = new DefaultMQAdminExt(8000L);
    private final String broker;
    private final String topic;
    private final String group;
    private final String key;
    private int wrong;

    private interface Question {
        boolean isRight() throws Exception;
    }

    Console(String namesrv, String broker, String topic, String group, String key) throws Exception {
        this.broker = broker;
        this.topic = topic;
        this.group = group;
        this.key = key;
        admin.setNamesrvAddr(namesrv);
        admin.setInstanceName("console");
        admin.setVipChannelEnabled(true);
        admin.start();
    }

    void ask() throws Exception {
        try {
            cluster();
            topics();
            groups();
            messages();
            progress();
            operations();
            farewell();
        } finally {
            admin.shutdown();
        }
        if (wrong > 0) {
            throw new IllegalStateException(wrong + " calls went wrong");
        }
    }

    private void that(String call, Question question) {
        try {
            if (question.isRight()) {
                Options.say("RIGHT " + call);
                return;
            }
            Options.say("WRONG " + call + " another answer was expected");
        } catch (Throwable failure) {
            Options.say("WRONG " + call + " " + Options.oneLine(failure));
        }
        wrong++;
    }

    private interface Deed {
        void happen() throws Exception;
    }

    private void does(String call, Deed deed) {
        that(call, () -> {
            deed.happen();
            return true;
        });
    }

    private MessageQueue first() throws Exception {
        return new TreeSet<>(admin.examineTopicStats(topic).getOffsetTable().keySet()).first();
    }

    private void cluster() {
        that("examineBrokerClusterInfo", () -> admin.examineBrokerClusterInfo().getBrokerAddrTable().values().stream()
            .anyMatch(one -> one.getBrokerAddrs().containsValue(broker)));
        that("getNameServerAddressList", () -> !admin.getNameServerAddressList().isEmpty());
        that("fetchBrokerRuntimeStats", () -> {
            Map<String, String> told = admin.fetchBrokerRuntimeStats(broker).getTable();
            NUMBERS.forEach(key -> Double.parseDouble(told.get(key)));
            Double.parseDouble(told.get("remainHowManyDataToFlush").split(" ")[0]);
            for (String rate : List.of("putTps", "getMissTps", "getFoundTps", "getTotalTps", "getTransferredTps")) {
                Double.parseDouble(told.get(rate).split(" ")[0]);
            }
            return told.get("brokerVersionDesc").equals("V5_5_0") && told.get("commitLogDirCapacity").startsWith("Total : ") && told.containsKey("runtime");
        });
        that("getBrokerConfig", () -> admin.getBrokerConfig(broker).getProperty("brokerName") != null);
        does("updateBrokerConfig", () -> {
            Properties change = new Properties();
            change.setProperty("autoCreateTopicEnable", "true");
            admin.updateBrokerConfig(broker, change);
        });
        for (String stats : List.of("TOPIC_PUT_NUMS", "TOPIC_PUT_SIZE")) {
            that("viewBrokerStatsData " + stats, () -> admin.viewBrokerStatsData(broker, stats, topic).getStatsDay() != null);
        }
        for (String stats : List.of("GROUP_GET_NUMS", "GROUP_GET_SIZE")) {
            that("viewBrokerStatsData " + stats, () -> admin.viewBrokerStatsData(broker, stats, topic + "@" + group).getStatsMinute() != null);
        }
        for (String stats : List.of("BROKER_PUT_NUMS", "BROKER_GET_NUMS")) {
            that("viewBrokerStatsData " + stats, () -> admin.viewBrokerStatsData(broker, stats, "DefaultCluster").getStatsHour() != null);
        }
    }

    private void topics() {
        that("fetchAllTopicList", () -> admin.fetchAllTopicList().getTopicList().contains(topic));
        that("fetchTopicsByCLuster", () -> admin.fetchTopicsByCLuster("DefaultCluster").getTopicList().contains(topic));
        that("getTopicClusterList", () -> admin.getTopicClusterList(topic).contains("DefaultCluster"));
        that("getAllTopicConfig", () -> admin.getAllTopicConfig(broker, 8000).getTopicConfigTable().containsKey(topic));
        that("getUserTopicConfig", () -> admin.getUserTopicConfig(broker, false, 8000).getTopicConfigTable().containsKey(topic));
        that("examineTopicRouteInfo", () -> admin.examineTopicRouteInfo(topic).getQueueDatas().get(0).getReadQueueNums() == 4);
        that("examineTopicStats", () -> admin.examineTopicStats(topic).getOffsetTable().values().stream().anyMatch(one -> one.getMaxOffset() > 0 && one.getLastUpdateTimestamp() > 0));
        that("examineTopicStats of a broker", () -> admin.examineTopicStats(broker, topic).getOffsetTable().size() == 4);
        does("createAndUpdateTopicConfig", () -> {
            TopicConfig config = new TopicConfig("ConsoleMade", 3, 3);
            config.setAttributes(new java.util.HashMap<>(Map.of("+message.type", "FIFO")));
            admin.createAndUpdateTopicConfig(broker, config);
        });
        that("examineTopicConfig", () -> {
            TopicConfig config = admin.examineTopicConfig(broker, "ConsoleMade");
            return config.getReadQueueNums() == 3 && "FIFO".equals(config.getAttributes().get("message.type"));
        });
    }

    private String client() throws Exception {
        return admin.examineConsumerConnectionInfo(group).getConnectionSet().iterator().next().getClientId();
    }

    private void groups() {
        that("queryTopicConsumeByWho", () -> admin.queryTopicConsumeByWho(topic).getGroupList().contains(group));
        that("examineConsumerConnectionInfo", () -> admin.examineConsumerConnectionInfo(group).getSubscriptionTable().containsKey(topic));
        that("examineConsumerConnectionInfo of a broker", () -> !admin.examineConsumerConnectionInfo(group, broker).getConnectionSet().isEmpty());
        that("getConsumerRunningInfo", () -> admin.getConsumerRunningInfo(group, client(), false).getSubscriptionSet().stream().anyMatch(one -> one.getTopic().equals(topic)));
        that("getConsumerRunningInfo with stacks", () -> admin.getConsumerRunningInfo(group, client(), true).getJstack().contains("Consume"));
        that("examineProducerConnectionInfo", () -> !admin.examineProducerConnectionInfo("interop_producer", topic).getConnectionSet().isEmpty());
        that("getAllProducerInfo", () -> admin.getAllProducerInfo(broker).getData().containsKey("interop_producer"));
        does("createAndUpdateSubscriptionGroupConfig", () -> {
            SubscriptionGroupConfig config = new SubscriptionGroupConfig();
            config.setGroupName("console_made");
            config.setRetryMaxTimes(7);
            admin.createAndUpdateSubscriptionGroupConfig(broker, config);
        });
        that("examineSubscriptionGroupConfig", () -> admin.examineSubscriptionGroupConfig(broker, "console_made").getRetryMaxTimes() == 7);
        that("getAllSubscriptionGroup", () -> admin.getAllSubscriptionGroup(broker, 8000).getSubscriptionGroupTable().containsKey(group));
        that("getUserSubscriptionGroup", () -> admin.getUserSubscriptionGroup(broker, 8000).getSubscriptionGroupTable().containsKey("console_made"));
    }

    private MessageExt message() throws Exception {
        return admin.queryMessage(topic, key, 64, 0, Long.MAX_VALUE).getMessageList().get(0);
    }

    private void messages() {
        that("queryMessage", () -> message().getKeys().equals(key));
        that("queryMessage by unique key", () -> admin.queryMessage("DefaultCluster", topic, message().getMsgId()).getKeys().equals(key));
        that("viewMessage", () -> admin.viewMessage(topic, message().getMsgId()).getKeys().equals(key));
        that("messageTrackDetail", () -> admin.messageTrackDetail(message()).stream().anyMatch(one -> one.getConsumerGroup().equals(group)));
        that("consumeMessageDirectly", () -> admin.consumeMessageDirectly(group, client(), topic, message().getMsgId()).getConsumeResult() == CMResult.CR_SUCCESS);
        that("searchOffset", () -> admin.searchOffset(first(), 0) == 0);
        that("minOffset", () -> admin.minOffset(first()) == 0);
        that("maxOffset", () -> admin.maxOffset(first()) > 0);
        that("earliestMsgStoreTime", () -> admin.earliestMsgStoreTime(first()) > 0);
    }

    private void progress() {
        that("examineConsumeStats", () -> admin.examineConsumeStats(group).getOffsetTable().keySet().stream().anyMatch(one -> one.getTopic().equals(topic)));
        that("examineConsumeStats on a topic", () -> admin.examineConsumeStats(group, topic).getOffsetTable().size() == 4);
        that("examineConsumeStats of a broker", () -> admin.examineConsumeStats(broker, group, topic, 8000).getOffsetTable().size() == 4);
        that("fetchConsumeStatsInBroker", () -> admin.fetchConsumeStatsInBroker(broker, false, 8000).getConsumeStatsList().stream().anyMatch(one -> one.containsKey(group)));
        that("queryConsumeTimeSpan", () -> !admin.queryConsumeTimeSpan(topic, group).isEmpty());
        that("getConsumeStatus", () -> !admin.getConsumeStatus(topic, group, "").isEmpty());
        that("resetOffsetByTimestamp", () -> admin.resetOffsetByTimestamp(topic, group, System.currentTimeMillis(), true).size() == 4);
        that("resetOffsetByTimestampOld", () -> admin.resetOffsetByTimestampOld(group, topic, System.currentTimeMillis(), true).size() == 4);
        does("resetOffsetNew", () -> admin.resetOffsetNew(group, topic, System.currentTimeMillis()));
        does("updateConsumeOffset", () -> admin.updateConsumeOffset(broker, "console_made", first(), 1));
        does("cloneGroupOffset", () -> admin.cloneGroupOffset(group, "console_made", topic, true));
    }

    private void operations() {
        does("createAndUpdateKvConfig", () -> admin.createAndUpdateKvConfig("console", "colour", "green"));
        that("getKVConfig", () -> admin.getKVConfig("console", "colour").equals("green"));
        that("getKVListByNamespace", () -> admin.getKVListByNamespace("console").getTable().containsKey("colour"));
        does("deleteKvConfig", () -> admin.deleteKvConfig("console", "colour"));
        does("createOrUpdateOrderConf", () -> admin.createOrUpdateOrderConf("ConsoleMade", "broker-a:3", false));
        that("wipeWritePermOfBroker", () -> admin.wipeWritePermOfBroker(admin.getNameServerAddressList().get(0), "broker-a") > 0);
        that("addWritePermOfBroker", () -> admin.addWritePermOfBroker(admin.getNameServerAddressList().get(0), "broker-a") > 0);
        that("cleanUnusedTopic", () -> admin.cleanUnusedTopic("DefaultCluster"));
        that("cleanUnusedTopicByAddr", () -> admin.cleanUnusedTopicByAddr(broker));
        that("cleanExpiredConsumerQueue", () -> admin.cleanExpiredConsumerQueue("DefaultCluster"));
        that("cleanExpiredConsumerQueueByAddr", () -> admin.cleanExpiredConsumerQueueByAddr(broker));
        does("updateColdDataFlowCtrGroupConfig", () -> {
            Properties limit = new Properties();
            limit.setProperty(group, "12345");
            admin.updateColdDataFlowCtrGroupConfig(broker, limit);
        });
        that("getColdDataFlowCtrInfo", () -> admin.getColdDataFlowCtrInfo(broker).contains("\"" + group + "\":12345"));
        does("removeColdDataFlowCtrGroupConfig", () -> admin.removeColdDataFlowCtrGroupConfig(broker, group));
        that("getColdDataFlowCtrInfo afterwards", () -> !admin.getColdDataFlowCtrInfo(broker).contains(group));
        that("setCommitLogReadAheadMode", () -> admin.setCommitLogReadAheadMode(broker, "0").contains("mode: 0"));
    }

    private void farewell() {
        does("deleteSubscriptionGroup", () -> admin.deleteSubscriptionGroup(broker, "console_made", true));
        does("deleteTopicInBroker", () -> admin.deleteTopicInBroker(Set.of(broker), "ConsoleMade"));
        does("deleteTopicInNameServer", () -> admin.deleteTopicInNameServer(new HashSet<>(admin.getNameServerAddressList()), "DefaultCluster", "ConsoleMade"));
        that("examineTopicRouteInfo of a deleted topic", () -> {
            try {
                admin.examineTopicRouteInfo("ConsoleMade");
                return false;
            } catch (org.apache.rocketmq.client.exception.MQClientException gone) {
                return gone.getResponseCode() == 17;
            }
        });
    }
}

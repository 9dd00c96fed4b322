//! Names of message properties with a meaning to brokers or clients (Apache RocketMQ 5.5.0,
//! `MessageConst`).

/// Separates a property's name from its value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// Ends a property.
pub const PROPERTY_SEPARATOR: u8 = 2;
/// Most bytes that the rendered properties of a stored message may have.
pub const LEN_MAX: usize = i16::MAX as usize;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
    };
}
names! {
    /// Business keys, separated by blanks.
    KEYS = "KEYS";
    /// The tag.
    TAGS = "TAGS";
    /// Whether the sender waits for flush and replicas (`true` by default).
    WAIT = "WAIT";
    /// Delay level, from 1.
    DELAY = "DELAY";
    /// Original topic of a retried message.
    RETRY_TOPIC = "RETRY_TOPIC";
    /// True topic of a redirected message.
    REAL_TOPIC = "REAL_TOPIC";
    /// True queue of a redirected message.
    REAL_QUEUE_ID = "REAL_QID";
    /// `true` on half messages.
    TRANSACTION_PREPARED = "TRAN_MSG";
    /// Group of the producer.
    PRODUCER_GROUP = "PGROUP";
    /// Smallest offset of the queue, set by consumers on what they pulled.
    MIN_OFFSET = "MIN_OFFSET";
    /// Largest offset of the queue, set by consumers on what they pulled.
    MAX_OFFSET = "MAX_OFFSET";
    /// First offset id of a retried message.
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID";
    /// Attempt count of a message sent to a retry topic.
    RECONSUME_TIME = "RECONSUME_TIME";
    /// Most attempts of a message sent to a retry topic.
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES";
    /// Region, added by the broker.
    MSG_REGION = "MSG_REGION";
    /// Whether the message is traced, added by the broker.
    TRACE_ON = "TRACE_ON";
    /// Cluster, added by the broker.
    CLUSTER = "CLUSTER";
    /// Unique message id, made by the producer.
    UNIQ_KEY = "UNIQ_KEY";
    /// When a consumer handed the message to its listener.
    CONSUME_START_TIME = "CONSUME_START_TIME";
    /// Messages in an inner batch.
    INNER_NUM = "INNER_NUM";
    /// First offset of an inner batch.
    INNER_BASE = "INNER_BASE";
    /// Sharding key of FIFO messages.
    SHARDING_KEY = "__SHARDINGKEY";
    /// Receipt handle of a popped message.
    POP_CK = "POP_CK";
    /// Delay in seconds.
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC";
    /// Delay in milliseconds.
    TIMER_DELAY_MS = "TIMER_DELAY_MS";
    /// Absolute delivery time.
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS";
    /// Rounded delivery time of a message that waits in the timer.
    TIMER_OUT_MS = "TIMER_OUT_MS";
    /// When a timed message was entered into its tick.
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS";
    /// When a timed message was delivered.
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS";
    /// How often a timed message was stored anew, because it waits for so long.
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES";
    /// Unique id of the timed message that this one takes back.
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY";
    /// When a mark of the broker was made.
    BORN_TIMESTAMP = "BORN_TIMESTAMP";
    /// Trace context.
    TRACE_CONTEXT = "TRACE_CONTEXT";
    /// Correlates a reply with its request.
    CORRELATION_ID = "CORRELATION_ID";
    /// Client that waits for the reply.
    REPLY_TO_CLIENT = "REPLY_TO_CLIENT";
    /// Life of a request in milliseconds.
    TTL = "TTL";
    /// Kind of a message of a request-reply exchange.
    MSG_TYPE = "MSG_TYPE";
    /// Instance of the producer's namespace.
    INSTANCE_ID = "INSTANCE_ID";
    /// Topic a dead letter came from.
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC";
    /// Id of the message a dead letter was.
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID";
    /// Priority, from 0.
    PRIORITY = "_SYS_MSG_PRIORITY_";
    /// Whole-record checksum.
    CRC32 = "__CRC32#";
    /// Light queues that also get the message.
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH";
    /// When a popped message was first popped.
    FIRST_POP_TIME = "1ST_POP_TIME";
    /// Group for which the broker brought a popped message back.
    ORIGIN_GROUP = "ORIGIN_GROUP";
    /// Seconds during which an undecided transaction is not checked.
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// How often a producer was asked about a transaction.
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES";
    /// Position of the half message of which this one is a copy.
    TRANSACTION_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET";
    /// When a broker brought a reply to its client, in ms.
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME";
    /// When a client got a reply, in ms.
    ARRIVE_TIME = "ARRIVE_TIME";
    /// Transaction id.
    TRANSACTION_ID = "__transactionId__";
}

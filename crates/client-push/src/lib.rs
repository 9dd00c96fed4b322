//! A RocketMQ push consumer.

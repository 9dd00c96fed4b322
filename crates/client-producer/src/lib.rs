//! A RocketMQ producer.

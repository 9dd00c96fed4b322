//! RocketMQ's message store: commit log, consume queues, key index.

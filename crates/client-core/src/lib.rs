//! What RocketMQ clients share: instance, routes, heartbeat, rebalance, offset stores.

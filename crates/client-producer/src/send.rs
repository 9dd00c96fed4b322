//! The one loop of tries.
//!
//! A try that fails for a reason of that broker, or that is not answered, is followed by another
//! one at another broker, while tries and time are left. A refusal that any broker would give ends
//! the send. The message keeps its id, so copies of one send can be told.

use std::time::Duration;

use rmq_client_core::{ClientError, ErrorKind, SendCall, SendReceipt, SendStatus};
use rmq_message::{CompactString, MessageQueue};
use rmq_runtime::Monotonic;

use crate::builder::wall;
use crate::error::{FailedSend, SendError};
use crate::fault::Health;
use crate::hook::SendAttempt;
use crate::outgoing::Outgoing;
use crate::producer::Shared;
use crate::trace::Sent;

/// A message on its way, from when its sender asked for it.
pub(crate) struct Sending<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) began: Monotonic,
}

/// What came of the tries so far.
#[derive(Default)]
struct Tries {
    brokers: Vec<CompactString>,
    may_be_stored: bool,
    last: Option<Last>,
}

enum Last {
    Error(ClientError),
    /// Stored, but not as safe as it should be.
    Unsafe(SendReceipt),
}

impl Sending<'_> {
    /// To any queue of the topic.
    pub(crate) async fn anywhere(&self, outgoing: Outgoing) -> Result<SendReceipt, SendError> {
        let Shared { config, round, faults, .. } = self.shared;
        let route = self.shared.route(&outgoing.topic).await?;
        let choose = |avoid: Option<&str>| {
            let now = self.now();
            let is_other = |queue: &MessageQueue| avoid != Some(queue.broker_name.as_str());
            let preferred = config.avoid_slow_brokers.then(|| {
                let available = |queue: &MessageQueue| {
                    is_other(queue) && faults.is_available(&queue.broker_name, now)
                };
                let reachable = |queue: &MessageQueue| {
                    is_other(queue) && faults.is_reachable(&queue.broker_name)
                };
                let found = round.find(&route.queues, available);
                found.or_else(|| round.find(&route.queues, reachable))
            });
            let any = || round.choose(&route.queues, is_other);
            preferred.flatten().or_else(any).ok_or(SendError::NoQueue)
        };
        let mut call = self.call(outgoing, choose(None)?);
        let mut tries = Tries::default();
        for left in (0..=config.retries).rev() {
            if let Some(last) = tries.brokers.last() {
                call.queue = choose(Some(last))?;
            }
            let Some(time) = self.time_for_a_try(left) else { break };
            match self.attempt(&call, time, &mut tries).await {
                Ok(receipt) if receipt.status == SendStatus::Ok || !config.retry_when_not_safe => {
                    return Ok(receipt);
                }
                Ok(receipt) => tries.last = Some(Last::Unsafe(receipt)),
                Err(error) => {
                    let again = self.is_worth_a_retry(&error);
                    tries.last = Some(Last::Error(error));
                    if !again {
                        break;
                    }
                }
            }
        }
        self.end(tries, &call.queue.topic)
    }

    /// To that queue, once.
    pub(crate) async fn to(
        &self,
        outgoing: Outgoing,
        queue: &MessageQueue,
    ) -> Result<SendReceipt, SendError> {
        let call = self.call(outgoing, queue);
        let mut tries = Tries::default();
        if let Some(time) = self.time_for_a_try(0) {
            match self.attempt(&call, time, &mut tries).await {
                Ok(receipt) => return Ok(receipt),
                Err(error) => tries.last = Some(Last::Error(error)),
            }
        }
        self.end(tries, &queue.topic)
    }

    /// To any queue of the topic, without waiting for an answer.
    pub(crate) async fn oneway(&self, outgoing: Outgoing) -> Result<(), SendError> {
        let route = self.shared.route(&outgoing.topic).await?;
        let queue = self.shared.round.choose(&route.queues, |_| true).ok_or(SendError::NoQueue)?;
        let call = self.call(outgoing, queue);
        let Some(time) = self.time_for_a_try(0) else {
            return self.end(Tries::default(), &queue.topic).map(drop);
        };
        let told = self.shared.instance.brokers().send_oneway(&call, time).await;
        told.or_else(|error| {
            let brokers = vec![queue.broker_name.clone()];
            let last = Some(Last::Error(error));
            self.end(Tries { brokers, may_be_stored: false, last }, &queue.topic).map(drop)
        })
    }

    fn call<'a>(&'a self, outgoing: Outgoing, queue: &'a MessageQueue) -> SendCall<'a> {
        let config = &self.shared.config;
        SendCall {
            group: &config.group,
            queue,
            body: outgoing.body,
            properties: outgoing.properties,
            flag: outgoing.flag,
            sys_flag: outgoing.sys_flag,
            born: outgoing.born,
            default_topic: &config.create_topic_key,
            default_topic_queues: config.default_topic_queue_nums.cast_signed(),
            reconsume_times: outgoing.reconsume_times,
            max_reconsume_times: outgoing.max_reconsume_times,
            unit_mode: false,
            batch: outgoing.batch,
            reply: outgoing.reply,
            id: outgoing.id,
        }
    }

    async fn attempt(
        &self,
        call: &SendCall<'_>,
        time: Duration,
        tries: &mut Tries,
    ) -> Result<SendReceipt, ClientError> {
        let (broker, began) = (&call.queue.broker_name, self.now());
        tries.brokers.push(broker.clone());
        let attempt = SendAttempt {
            group: call.group,
            queue: call.queue,
            id: &call.id,
            properties: &call.properties,
            body_len: call.body.len(),
        };
        let shared = self.shared;
        shared.hooks.iter().for_each(|hook| hook.before(&attempt));
        let began_wall = wall(shared.world());
        let outcome = shared.instance.brokers().send(call, time).await;
        let (now, config) = (self.now(), &shared.config);
        if config.avoid_slow_brokers {
            let (took, health) = (now.since(began), Health::of(&outcome));
            shared.faults.note(config, call.queue, took, health, now);
        }
        shared.hooks.iter().for_each(|hook| hook.after(&attempt, outcome.as_ref()));
        if let (Some(traces), Ok(receipt)) = (&shared.traces, &outcome) {
            let sent = Sent {
                properties: &call.properties,
                body_len: call.body.len(),
                began: began_wall,
                cost: now.since(began),
                receipt,
            };
            traces.sent(call.group, &call.queue.topic, &sent);
        }
        if let Err(error) = &outcome {
            tracing::warn!(%broker, topic = %call.queue.topic, id = call.id, %error, "send failed");
            // An answer that cannot be read was an answer of success.
            tries.may_be_stored |= error.kind() == ErrorKind::Timeout
                || matches!(error, ClientError::Malformed { .. });
        }
        outcome
    }

    fn is_worth_a_retry(&self, error: &ClientError) -> bool {
        match error {
            ClientError::Refused { code, .. } => self.shared.config.retry_codes.contains(code),
            other => matches!(other.kind(), ErrorKind::Retry | ErrorKind::Timeout),
        }
    }

    /// The time that is left, if any; less while another try would follow and the settings say so.
    fn time_for_a_try(&self, left: u32) -> Option<Duration> {
        let config = &self.shared.config;
        let rest = config.timeout.checked_sub(self.now().since(self.began))?;
        let limit = config.try_timeout.filter(|_| left > 0);
        Some(limit.map_or(rest, |limit| rest.min(limit))).filter(|time| !time.is_zero())
    }

    fn end(&self, tries: Tries, topic: &str) -> Result<SendReceipt, SendError> {
        let cost = self.now().since(self.began);
        match tries.last {
            Some(Last::Unsafe(receipt)) => Ok(receipt),
            Some(Last::Error(source)) => Err(SendError::Failed(Box::new(FailedSend {
                tries: tries.brokers.len(),
                cost,
                topic: CompactString::new(topic),
                brokers: tries.brokers,
                may_be_stored: tries.may_be_stored,
                source,
            }))),
            None => Err(SendError::Late { waited: cost }),
        }
    }

    fn now(&self) -> Monotonic {
        self.shared.world().clock.monotonic()
    }
}

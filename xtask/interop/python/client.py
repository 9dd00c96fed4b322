"""Sends or consumes with the Python client on librocketmq (the C++ client) and prints the words of the scenes."""

import argparse
import signal
import sys
import threading

from rocketmq.client import Message, Producer, PushConsumer
from rocketmq.ffi import dll


def say(line):
    with SPEAKING:
        print(line, flush=True)


def shown(body):
    text = body.rstrip(b".")
    return text.decode() if len(text) == len(body) else "%s~%d" % (text.decode(), len(body))


def produce(options):
    producer = Producer("interop_python")
    producer.set_namesrv_addr(options.namesrv)
    producer.start()
    failed = 0
    for i in range(options.count):
        key = "%s-%d" % (options.key_prefix, i)
        body = key.ljust(options.body_size, ".").encode()
        message = Message(options.topic)
        message.set_keys(key)
        if options.tag:
            message.set_tags(options.tag)
        message.set_body(body)
        try:
            result = producer.send_sync(message)
            # The client does not tell the queue.
            say("SENT %s -1 %d %s" % (result.msg_id, result.offset, shown(body)))
        except Exception as error:
            failed += 1
            say("FAILED %s %s" % (shown(body), error))
    say("DONE %d %d" % (options.count - failed, failed))
    producer.shutdown()
    return 1 if failed else 0


def consume(options):
    left = [options.fail_first]

    def take(message):
        body = bytes(message.body, "utf-8") if isinstance(message.body, str) else message.body
        topic = message.topic if isinstance(message.topic, str) else message.topic.decode()
        say("GOT %d %d %d %s %s" % (message.queue_id, message.queue_offset, message.reconsume_times, topic, shown(body)))
        if message.reconsume_times == 0 and left[0] > 0:
            left[0] -= 1
            raise RuntimeError("told to fail")

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    consumer = PushConsumer(options.group, orderly=options.orderly)
    dll.SetPushConsumerInstanceName(consumer._handle, options.instance.encode())
    consumer.set_namesrv_addr(options.namesrv)
    consumer.subscribe(options.topic, take, options.expr)
    consumer.start()
    say("READY")
    stop.wait()
    consumer.shutdown()
    say("STOPPED")
    return 0


SPEAKING = threading.Lock()
parser = argparse.ArgumentParser()
parser.add_argument("act", choices=["produce", "consume"])
parser.add_argument("--namesrv", required=True)
parser.add_argument("--topic", required=True)
parser.add_argument("--group")
parser.add_argument("--expr", default="*")
parser.add_argument("--instance", default="python")
parser.add_argument("--orderly", action="store_true")
parser.add_argument("--fail-first", type=int, default=0)
parser.add_argument("--key-prefix", default="m")
parser.add_argument("--tag")
parser.add_argument("--count", type=int, default=1)
parser.add_argument("--body-size", type=int, default=0)
OPTIONS = parser.parse_args()
sys.exit(produce(OPTIONS) if OPTIONS.act == "produce" else consume(OPTIONS))

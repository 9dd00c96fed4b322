// A push consumer of the Go client that prints the words of the scenes: READY, GOT, STOPPED. It cannot tell what it owns.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

var speaking sync.Mutex

func say(format string, values ...any) {
	speaking.Lock()
	defer speaking.Unlock()
	fmt.Printf(format+"\n", values...)
}

func shown(body []byte) string {
	text := bytes.TrimRight(body, ".")
	if len(text) == len(body) {
		return string(body)
	}
	return fmt.Sprintf("%s~%d", text, len(body))
}

func main() {
	namesrv := flag.String("namesrv", "", "host:port")
	group := flag.String("group", "", "")
	topic := flag.String("topic", "", "")
	expression := flag.String("expr", "*", "")
	instance := flag.String("instance", "go", "")
	orderly := flag.Bool("orderly", false, "")
	broadcast := flag.Bool("broadcast", false, "")
	failFirst := flag.Int64("fail-first", 0, "")
	flag.Parse()
	model := consumer.Clustering
	if *broadcast {
		model = consumer.BroadCasting
	}
	taker, err := rocketmq.NewPushConsumer(
		consumer.WithGroupName(*group),
		consumer.WithInstance(*instance),
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{*namesrv})),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumerModel(model),
		consumer.WithConsumerOrder(*orderly),
	)
	left := *failFirst
	take := func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		result := consumer.ConsumeSuccess
		for _, one := range messages {
			say("GOT %d %d %d %s %s", one.Queue.QueueId, one.QueueOffset, one.ReconsumeTimes, one.Topic, shown(one.Body))
			if one.ReconsumeTimes == 0 && atomic.AddInt64(&left, -1) >= 0 {
				result = consumer.ConsumeRetryLater
				if *orderly {
					result = consumer.SuspendCurrentQueueAMoment
				}
			}
		}
		return result, nil
	}
	if err == nil {
		err = taker.Subscribe(*topic, consumer.MessageSelector{Type: consumer.TAG, Expression: *expression}, take)
	}
	if err == nil {
		err = taker.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	say("READY")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	if err := taker.Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	say("STOPPED")
}

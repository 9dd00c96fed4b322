// Sends --count messages with the Go client and prints the words of the scenes: SENT, FAILED, DONE.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func main() {
	namesrv := flag.String("namesrv", "", "host:port")
	topic := flag.String("topic", "", "")
	prefix := flag.String("key-prefix", "m", "")
	tag := flag.String("tag", "", "")
	count := flag.Int("count", 1, "")
	size := flag.Int("body-size", 0, "")
	flag.Parse()
	sender, err := rocketmq.NewProducer(
		producer.WithGroupName("interop_go"),
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{*namesrv})),
		producer.WithRetry(2),
	)
	if err == nil {
		err = sender.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	failed := 0
	for i := 0; i < *count; i++ {
		key := fmt.Sprintf("%s-%d", *prefix, i)
		body, shown := key, key
		if *size > len(key) {
			body = key + strings.Repeat(".", *size-len(key))
			shown = fmt.Sprintf("%s~%d", key, *size)
		}
		message := primitive.NewMessage(*topic, []byte(body)).WithKeys([]string{key})
		if *tag != "" {
			message.WithTag(*tag)
		}
		result, err := sender.SendSync(context.Background(), message)
		switch {
		case err != nil:
			failed++
			fmt.Printf("FAILED %s %v\n", shown, err)
		case result.Status != primitive.SendOK:
			failed++
			fmt.Printf("FAILED %s status %d\n", shown, result.Status)
		default:
			fmt.Printf("SENT %s %d %d %s\n", result.MsgID, result.MessageQueue.QueueId, result.QueueOffset, shown)
		}
	}
	fmt.Printf("DONE %d %d\n", *count-failed, failed)
	if err := sender.Shutdown(); err != nil || failed > 0 {
		os.Exit(1)
	}
}

// The Go peer of `make bench-server`: the service of csrc/lab/http.h, by net/http ("http") or by a goroutine for each
// connection and a parser as small as ours ("net").
//
// Prints its port and serves until its standard input ends. The number of kernel threads that run Go code and the
// collector are left as users have them.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

var sink uint64

func compute(steps int) {
	value := uint64(1)
	for i := 0; i < steps; i++ {
		value *= 6364136223846793005
	}
	if value == 0 {
		sink++
	}
}

func work(query url.Values) {
	steps, _ := strconv.Atoi(query.Get("steps"))
	compute(steps)
	if us, _ := strconv.Atoi(query.Get("block_us")); us > 0 {
		time.Sleep(time.Duration(us) * time.Microsecond)
	}
}

func number(target []byte, name string) int {
	at := bytes.Index(target, []byte(name))
	if at < 0 {
		return 0
	}
	value := 0
	for _, digit := range target[at+len(name):] {
		if digit < '0' || digit > '9' {
			break
		}
		value = value*10 + int(digit-'0')
	}
	return value
}

// One request without a body, as the load generator sends it; false: it is none.
func answer(out, head []byte) ([]byte, bool) {
	line := head[:bytes.Index(head, []byte("\r\n"))]
	from := bytes.IndexByte(line, ' ') + 1
	to := bytes.LastIndexByte(line, ' ')
	if from == 0 || to < from || !bytes.HasPrefix(line[to+1:], []byte("HTTP/1.")) {
		return nil, false
	}
	target := line[from:to]
	compute(number(target, "steps="))
	if us := number(target, "block_us="); us > 0 {
		time.Sleep(time.Duration(us) * time.Microsecond)
	}
	out = append(out[:0], "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(target)), 10)
	out = append(out, "\r\n\r\n"...)
	return append(out, target...), true
}

func serve(connection net.Conn) {
	defer connection.Close()
	data, out := make([]byte, 0, 2048), make([]byte, 0, 2304)
	for {
		got, err := connection.Read(data[len(data):cap(data)])
		if err != nil {
			return
		}
		data = data[:len(data)+got]
		for {
			end := bytes.Index(data, []byte("\r\n\r\n"))
			if end < 0 {
				break
			}
			var ok bool
			if out, ok = answer(out, data[:end+2]); !ok {
				return
			}
			if _, err = connection.Write(out); err != nil {
				return
			}
			data = data[:copy(data, data[end+4:])]
		}
		if len(data) == cap(data) {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if len(os.Args) > 1 && os.Args[1] == "net" {
		for {
			connection, err := listener.Accept()
			if err != nil {
				time.Sleep(5 * time.Millisecond)
				continue
			}
			go serve(connection)
		}
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		work(r.URL.Query())
		io.WriteString(w, r.RequestURI)
	}
	if err := http.Serve(listener, http.HandlerFunc(handler)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

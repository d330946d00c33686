// The Go peer: goroutines in the lines of ../peer.h, with the same sizes and the same output.
//
// The number of kernel threads that run Go code is set per line (GOMAXPROCS); the collector is left
// as users have it.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	samples     = 3
	yields      = 1000000
	spawnJoin   = 100000
	spawnMany   = 100000
	pingpong    = 200000
	cross       = 20000
	cold        = 200
	pipeTrips   = 50000
	coldPause   = 500 * time.Microsecond
	crowdSize   = 10000
	crowdYields = 1000
	skynetSize  = 1000000
	spinFor     = 300 * time.Millisecond
	burst       = 100000
)

func value(line, metric string, v float64, unit string) {
	fmt.Printf("%s %s %.6g %s\n", line, metric, v, unit)
}

func skip(line, reason string) {
	fmt.Printf("skip %s %s\n", line, reason)
}

const (
	processCPUTime = 2
	threadCPUTime  = 3
)

func clockNs(clock uintptr) float64 {
	var now syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&now)), 0)
	return float64(now.Sec)*1e9 + float64(now.Nsec)
}

func cpuNs() float64 { return clockNs(processCPUTime) }

var threadClocks []uintptr

// As in peer.h.
func knowThreads() {
	threadClocks = nil
	entries, _ := os.ReadDir("/proc/self/task")
	for _, entry := range entries {
		if tid, err := strconv.Atoi(entry.Name()); err == nil {
			threadClocks = append(threadClocks, uintptr(int32(^uint32(tid)<<3|6)))
		}
	}
}

// As in peer.h.
func othersNs() float64 {
	for _, clock := range threadClocks {
		clockNs(clock)
	}
	for {
		before, all, after := clockNs(threadCPUTime), cpuNs(), clockNs(threadCPUTime)
		if after-before <= 10000 {
			return all - before
		}
	}
}

// As in peer.h: CPU time beside this kernel thread, which sleeps.
func burntBesideNs(sleep time.Duration) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := othersNs()
	pause := syscall.NsecToTimespec(sleep.Nanoseconds())
	for syscall.Nanosleep(&pause, &pause) == syscall.EINTR {
	}
	return othersNs() - start
}

func reportIdleBurn(line string) {
	soon, later := burntBesideNs(100*time.Millisecond), burntBesideNs(300*time.Millisecond)
	value(line, "burnt_first_100ms", soon/1e6, "ms")
	value(line, "burnt_next_300ms", later/1e6, "ms")
}

type watch struct {
	wall time.Time
	cpu  float64
}

func begin() watch { return watch{time.Now(), cpuNs()} }

func (w watch) end(line, metric string, divisor float64, unit string) {
	cpu, wall := cpuNs()-w.cpu, float64(time.Since(w.wall).Nanoseconds())
	value(line, metric, wall/divisor, unit)
	value(line, metric+".cpu", cpu/divisor, unit)
}

// ---- G1: the nearest thing in Go to a bare switch has no name of its own: left to yields ----

func crowd(line, metric string, procs, members, each, n int) {
	runtime.GOMAXPROCS(procs)
	for s := 0; s < n; s++ {
		var all sync.WaitGroup
		w := begin()
		all.Add(members)
		for i := 0; i < members; i++ {
			go func() {
				for j := 0; j < each; j++ {
					runtime.Gosched()
				}
				all.Done()
			}()
		}
		all.Wait()
		w.end(line, metric, float64(members)*float64(each), "ns")
	}
}

func g2() { crowd("G2", "yield_2", 1, 2, yields/2, samples) }

func g3() {
	crowd("G3", "yield_1000", 1, 1000, yields/1000, samples)
	crowd("G3", "yield_10000", 1, 10000, yields/10000, samples)
}

func g9() { crowd("G9", "yield_crowd", 2, crowdSize, crowdYields, 1) }

func g4() {
	runtime.GOMAXPROCS(1)
	for s := 0; s < samples; s++ {
		var one sync.WaitGroup
		w := begin()
		for i := 0; i < spawnJoin; i++ {
			one.Add(1)
			go one.Done()
			one.Wait()
		}
		w.end("G4", "spawn_join", spawnJoin, "ns")
	}
}

func g5() {
	runtime.GOMAXPROCS(1)
	for s := 0; s <= samples; s++ {
		var all sync.WaitGroup
		metric := "spawn_many"
		if s == 0 {
			metric = "spawn_many_first"
		}
		w := begin()
		all.Add(spawnMany)
		for i := 0; i < spawnMany; i++ {
			go all.Done()
		}
		all.Wait()
		w.end("G5", metric, spawnMany, "ns")
	}
}

// Resident memory and its page tables.
func residentBytes() float64 {
	text, _ := os.ReadFile("/proc/self/status")
	kib := 0.0
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "VmRSS:") || strings.HasPrefix(line, "VmPTE:") {
			v, _ := strconv.ParseFloat(strings.Fields(line)[1], 64)
			kib += v
		}
	}
	return kib * 1024
}

func g6() {
	count := 1000000
	if wanted, err := strconv.Atoi(os.Getenv("PEER_PARKED")); err == nil && wanted > 0 {
		count = wanted
	}
	runtime.GOMAXPROCS(1)
	never := make(chan struct{})
	var started sync.WaitGroup
	before := residentBytes()
	started.Add(count)
	for i := 0; i < count; i++ {
		go func() {
			started.Done()
			<-never
		}()
	}
	started.Wait()
	value("G6", "bytes", (residentBytes()-before)/float64(count), "B")
	value("G6", "parked", float64(count), "threads")
	value("G6", "guarded", 1, "bool") // each function checks its stack instead
	os.Exit(0)
}

func g7() {
	runtime.GOMAXPROCS(1)
	for s := 0; s < samples; s++ {
		ping, pong := make(chan struct{}), make(chan struct{})
		go func() {
			for i := 0; i < pingpong; i++ {
				<-ping
				pong <- struct{}{}
			}
		}()
		w := begin()
		for i := 0; i < pingpong; i++ {
			ping <- struct{}{}
			<-pong
		}
		w.end("G7", "channel_same", 2*pingpong, "ns")
	}
}

// The goroutine keeps its kernel thread, and that one its CPU.
func pin(cpu uint) {
	var set [16]uint64
	runtime.LockOSThread()
	set[cpu/64] = 1 << (cpu % 64)
	syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
}

func g8() {
	if runtime.NumCPU() < 2 {
		skip("G8", "one CPU only")
		return
	}
	runtime.GOMAXPROCS(2)
	ping, pong := make(chan struct{}), make(chan struct{})
	var sent time.Time
	delays := make([]float64, 0, cold)
	go func() {
		pin(1)
		for i := 0; i < cross; i++ {
			<-ping
			pong <- struct{}{}
		}
		for i := 0; i < cold; i++ {
			<-ping
			delays = append(delays, float64(time.Since(sent).Nanoseconds()))
			pong <- struct{}{}
		}
	}()
	pin(0)
	w := begin()
	for i := 0; i < cross; i++ {
		ping <- struct{}{}
		<-pong
	}
	w.end("G8", "cross_hot", 2*cross, "ns")
	for i := 0; i < cold; i++ {
		time.Sleep(coldPause)
		sent = time.Now()
		ping <- struct{}{}
		<-pong
	}
	sort.Float64s(delays)
	value("G8", "cross_cold", delays[cold/2], "ns")
}

func skynetNode(c chan int, first, size int) {
	if size == 1 {
		c <- first
		return
	}
	sum, children := 0, make(chan int, 10)
	for i := 0; i < 10; i++ {
		go skynetNode(children, first+i*(size/10), size/10)
	}
	for i := 0; i < 10; i++ {
		sum += <-children
	}
	c <- sum
}

func skynet(procs int, firstMetric, metric string) {
	runtime.GOMAXPROCS(procs)
	for s := 0; s < 2; s++ {
		name := metric
		if s == 0 {
			name = firstMetric
		}
		c := make(chan int)
		w := begin()
		go skynetNode(c, 0, skynetSize)
		sum := <-c
		w.end("G10", name, 1e6, "ms")
		if sum != skynetSize*(skynetSize-1)/2 {
			os.Exit(1)
		}
	}
}

func g10() {
	skynet(1, "skynet_1_first", "skynet_1")
	skynet(2, "skynet_2_first", "skynet_2")
}

func g11() {
	runtime.GOMAXPROCS(1)
	ended := false // one kernel thread runs Go code: no two touch it at once
	go func() {
		for end := time.Now().Add(spinFor); time.Now().Before(end); {
		}
		ended = true
	}()
	worst, last := time.Duration(0), time.Now()
	for !ended {
		runtime.Gosched()
		now := time.Now()
		if gap := now.Sub(last); gap > worst {
			worst = gap
		}
		last = now
	}
	value("G11", "next_waits", float64(worst.Nanoseconds())/1e6, "ms")
}

// The ends of os.Pipe are non-blocking and known to Go's poller.
func g12() {
	runtime.GOMAXPROCS(1)
	there, thereIn, err := os.Pipe()
	back, backIn, err2 := os.Pipe()
	if err != nil || err2 != nil {
		fmt.Fprintln(os.Stderr, "pipe:", err, err2)
		os.Exit(1)
	}
	// A buffer for each goroutine, so that nothing is allocated for a byte.
	put := func(file *os.File, one []byte) {
		if _, err := file.Write(one); err != nil {
			panic(err)
		}
	}
	take := func(file *os.File, one []byte) {
		if _, err := file.Read(one); err != nil {
			panic(err)
		}
	}
	for s := 0; s < samples; s++ {
		go func() {
			one := make([]byte, 1)
			for i := 0; i < pipeTrips; i++ {
				take(there, one)
				put(backIn, one)
			}
		}()
		one := make([]byte, 1)
		w := begin()
		for i := 0; i < pipeTrips; i++ {
			put(thereIn, one)
			take(back, one)
		}
		w.end("G12", "pipe", 2*pipeTrips, "ns")
	}
}

// What Syscall does around a call and RawSyscall does not; in CPU time, since it is a small difference.
func g13() {
	const calls = 1000000
	runtime.GOMAXPROCS(1)
	for s := 0; s < samples; s++ {
		start := cpuNs()
		for i := 0; i < calls; i++ {
			syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
		raw := cpuNs() - start
		start = cpuNs()
		for i := 0; i < calls; i++ {
			syscall.Syscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
		value("G13", "bookkeeping", (cpuNs()-start-raw)/calls, "ns")
	}
}

func g14() {
	runtime.GOMAXPROCS(2)
	for i := 0; i < 2; i++ {
		knowThreads()
		var all sync.WaitGroup
		all.Add(burst)
		for i := 0; i < burst; i++ {
			go all.Done()
		}
		all.Wait()
	}
	reportIdleBurn("G14")
}

// Two Ps, as many goroutines waiting for what never comes.
func g15() {
	runtime.GOMAXPROCS(2)
	token := make(chan struct{})
	var all sync.WaitGroup
	all.Add(1000)
	for i := 0; i < 1000; i++ {
		go func() {
			<-token
			all.Done()
		}()
	}
	time.Sleep(100 * time.Millisecond)
	started := time.Now()
	burnt := burntBesideNs(1500 * time.Millisecond)
	value("G15", "idle_share", 100*burnt/float64(time.Since(started).Nanoseconds()), "%")
	close(token)
	all.Wait()
}

// ---- P: pools.  Goroutines are the pool; GOMAXPROCS is workers plus the one that submits. ----

const (
	poolTasks      = 200000
	poolFib        = 27
	poolFibForks   = 832039
	poolRoundTrips = 20000
)

func submitAndWait(producers, tasks int) {
	var all sync.WaitGroup
	var submitting sync.WaitGroup
	all.Add(producers * tasks)
	submitting.Add(producers)
	for p := 0; p < producers; p++ {
		go func() {
			for i := 0; i < tasks; i++ {
				go all.Done()
			}
			submitting.Done()
		}()
	}
	submitting.Wait()
	all.Wait()
}

func producersLine(line, metric string, producers int) {
	for workers := 1; workers <= 2; workers++ {
		runtime.GOMAXPROCS(workers + 1)
		submitAndWait(producers, 1000)
		for s := 0; s < samples; s++ {
			w := begin()
			submitAndWait(producers, poolTasks/producers)
			w.end(line, fmt.Sprintf("%s_%d", metric, workers), poolTasks, "ns")
		}
	}
}

func p1() { producersLine("P1", "submit", 1) }

func p2() { producersLine("P2", "producers", 2) }

func forkFib(n int) int {
	if n < 2 {
		return n
	}
	var right int
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		right = forkFib(n - 2)
		done.Done()
	}()
	left := forkFib(n - 1)
	done.Wait()
	return left + right
}

func p3() {
	for threads := 1; threads <= 2; threads++ {
		runtime.GOMAXPROCS(threads)
		w := begin()
		if forkFib(poolFib) != 196418 {
			panic("fib")
		}
		w.end("P3", fmt.Sprintf("fork_%d", threads), poolFibForks, "ns")
	}
}

func p8() {
	for workers := 1; workers <= 2; workers++ {
		runtime.GOMAXPROCS(workers + 1)
		for s := 0; s < samples; s++ {
			w := begin()
			for i := 0; i < poolRoundTrips; i++ {
				done := make(chan struct{})
				go close(done)
				<-done
			}
			w.end("P8", fmt.Sprintf("round_trip_%d", workers), poolRoundTrips*1e3, "us")
		}
	}
}

func p10() {
	runtime.GOMAXPROCS(3)
	submitAndWait(1, 20000)
	knowThreads()
	submitAndWait(1, 20000)
	reportIdleBurn("P10")
}

func main() {
	names := []string{"G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G11", "G12", "G13", "G14", "G15",
		"P1", "P2", "P3", "P8", "P10"}
	lines := map[string]func(){"G2": g2, "G3": g3, "G4": g4, "G5": g5, "G6": g6, "G7": g7, "G8": g8, "G9": g9,
		"G10": g10, "G11": g11, "G12": g12, "G13": g13, "G14": g14, "G15": g15, "P1": p1, "P2": p2, "P3": p3, "P8": p8, "P10": p10}
	for _, name := range os.Args[1:] {
		if name == "--lines" {
			fmt.Println(strings.Join(names, "\n"))
			continue
		}
		measure, known := lines[name]
		if !known {
			fmt.Fprintln(os.Stderr, "usage: go-peer --lines | LINE...")
			os.Exit(2)
		}
		measure()
	}
}

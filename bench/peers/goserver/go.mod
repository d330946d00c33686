module filar/bench/peers/goserver

go 1.19

module filar/bench/peers

go 1.19

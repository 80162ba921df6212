module kafscale/clients/gosuite

go 1.26

# A build: five files of C by make, and a command in Go with its runtime.
mkdir c go && cd c
for i in 1 2 3 4 5; do
	printf '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include "part.h"\nint part%d(const char *s) { char *t = strdup(s); int n = (int)strlen(t) * %d; free(t); return n; }\n' $i $i >part$i.c
	printf 'int part%d(const char *);\n' $i >>part.h
done
printf '#include <stdio.h>\n#include "part.h"\nint main(int n, char **args) { printf("%%d\\n", part1(args[0]) + part5(args[0]) + n); return 0; }\n' >main.c
printf 'OBJECTS = main.o part1.o part2.o part3.o part4.o part5.o\nparts: $(OBJECTS)\n\tgcc -o $@ $(OBJECTS)\n%%.o: %%.c part.h\n\tgcc -O2 -Wall -c -o $@ $<\n' >Makefile
make -j 2
./parts
cd ../go
printf 'module example.com/hello\n\ngo 1.21\n' >go.mod
printf 'package main\n\nfunc main() { println(42) }\n' >main.go
GOCACHE=$HOME/cache GOPATH=$HOME/gopath GOPROXY=off GOTOOLCHAIN=local CGO_ENABLED=0 go build -o hello .
./hello

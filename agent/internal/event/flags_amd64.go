package event

var openFlags = openFlagsOf{directory: 0o200000, noFollow: 0o400000, direct: 0o40000, largeFile: 0o100000}

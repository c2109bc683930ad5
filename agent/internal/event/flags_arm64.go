package event

var openFlags = openFlagsOf{directory: 0o40000, noFollow: 0o100000, direct: 0o200000, largeFile: 0o400000}

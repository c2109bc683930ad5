package pgtest

import "syscall"

// dieWithParent makes the kernel stop the server (immediate) when the thread that
// forked it ends. See PR_SET_PDEATHSIG in prctl(2).
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }

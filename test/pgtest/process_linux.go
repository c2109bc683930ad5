package pgtest

import "syscall"

// dieWithParent has the kernel stop the server (immediate) when the thread that
// forked it ends, see prctl(2), PR_SET_PDEATHSIG.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }

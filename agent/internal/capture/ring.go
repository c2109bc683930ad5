//go:build linux

package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"ospulse/agent/internal/parser"
)

const (
	blockBytes = 64 << 10
	// retireTime is how long a packet may wait for others to fill its block.
	retireTime = 10 * time.Millisecond
)

// frame is a packet from the kernel. Its data is part of the ring's memory.
type frame struct {
	parser.Frame

	time     time.Time
	ifindex  int
	outgoing bool
}

// ring is a packet socket and the memory that it shares with the kernel
// (TPACKET_V3 of packet(7) and Documentation/networking/packet_mmap.rst). Only one
// goroutine may call read; interfaceName is safe for concurrent use.
type ring struct {
	file  *os.File
	raw   syscall.RawConn
	mem   []byte
	block int       // the block to read next
	empty time.Time // when read last found no block
}

// openRing opens a ring of the given size in bytes in a network namespace: the file of that
// name, or the agent's namespace if the name is "". The ring collects packets from now on,
// and keeps the first snap bytes of each.
func openRing(namespace string, bytes, snap int) (*ring, error) {
	fd, err := openSocket(namespace)
	if err != nil {
		return nil, err
	}
	r := &ring{}
	if err := r.setUp(fd, bytes, snap); err != nil {
		if r.mem != nil {
			err = errors.Join(err, unix.Munmap(r.mem))
		}
		return nil, errors.Join(err, unix.Close(fd))
	}
	r.file = os.NewFile(uintptr(fd), "packets")
	if r.raw, err = r.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the packet socket: %w", err), r.close())
	}
	return r, nil
}

// openSocket opens a packet socket that receives nothing yet. To open it in another
// namespace, a thread enters that namespace and ends afterwards.
func openSocket(namespace string) (int, error) {
	open := func() (int, error) {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return -1, fmt.Errorf("open a packet socket: %w", err)
		}
		return fd, nil
	}
	if namespace == "" {
		return open()
	}
	var (
		fd  = -1
		err error
	)
	onOwnThread(func() {
		var ns int
		if ns, err = unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			err = fmt.Errorf("open the network namespace %s: %w", namespace, err)
			return
		}
		defer unix.Close(ns) //nolint:errcheck // it was only read
		if err = unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter the network namespace %s: %w", namespace, err)
			return
		}
		fd, err = open()
	})
	return fd, err
}

// onOwnThread calls do on a thread that ends afterwards. It never uses the first thread of
// the process: that thread does not end, and /proc shows its network namespace as that of
// the process.
func onOwnThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			onOwnThread(do) // runs on another thread, because this one is locked
			runtime.UnlockOSThread()
			return
		}
		do() // the thread is not unlocked, so it ends with the goroutine
	}()
	<-done
}

// setUp creates the ring and then starts to receive. The filter is in place before the first
// packet.
func (r *ring) setUp(fd, bytes, snap int) error {
	program, err := filter(snap)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program); err != nil {
		return fmt.Errorf("set the packet filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("set the version of the packet ring: %w", err)
	}
	blocks := max(bytes/blockBytes, 2)
	const frameBytes = 2048 // TPACKET_V3 does not use it, but the kernel checks it
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size: blockBytes, Block_nr: uint32(blocks), Frame_size: frameBytes, Frame_nr: uint32(blocks * (blockBytes / frameBytes)),
		Retire_blk_tov: uint32(retireTime.Milliseconds()),
	}); err != nil {
		return fmt.Errorf("create a packet ring of %d bytes: %w", blocks*blockBytes, err)
	}
	if r.mem, err = unix.Mmap(fd, 0, blocks*blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map the packet ring: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL)}); err != nil {
		return fmt.Errorf("capture on all interfaces: %w", err)
	}
	return nil
}

// filter returns a filter that cuts packets to snap bytes and drops packets that loopback
// sends, because loopback also receives each of them.
func filter(snap int) (*unix.SockFprog, error) {
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: loopback, SkipTrue: 3},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: uint32(snap)},
	})
	if err != nil {
		return nil, fmt.Errorf("assemble the packet filter: %w", err)
	}
	code := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}, nil
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// close ends the capture.
func (r *ring) close() error {
	err := unix.Munmap(r.mem)
	r.mem = nil
	if closeErr := r.file.Close(); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	if err != nil {
		return fmt.Errorf("close the packet ring: %w", err)
	}
	return nil
}

// read waits for the next block until deadline and calls handle for each packet in it. It
// returns false if no block was ready in time.
func (r *ring) read(deadline time.Time, handle func(*frame)) (bool, error) {
	desc := (*unix.TpacketBlockDesc)(unsafe.Pointer(&r.mem[r.block*blockBytes]))
	header := (*unix.TpacketHdrV1)(unsafe.Pointer(&desc.Hdr))
	ready := func(uintptr) bool { return atomic.LoadUint32(&header.Block_status)&unix.TP_STATUS_USER != 0 }
	if before := time.Now(); !ready(0) {
		r.empty = before
		if err := r.file.SetReadDeadline(deadline); err != nil {
			return false, fmt.Errorf("wait for packets: %w", err)
		}
		switch err := r.raw.Read(ready); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("wait for packets: %w", err)
		}
	}
	block := r.mem[r.block*blockBytes : (r.block+1)*blockBytes]
	readBlock(block, int(header.Offset_to_first_pkt), int(header.Num_pkts), handle)
	atomic.StoreUint32(&header.Block_status, unix.TP_STATUS_KERNEL)
	r.block = (r.block + 1) % (len(r.mem) / blockBytes)
	return true, nil
}

// addressOffset is the offset of a packet's address from its header.
const addressOffset = (unix.SizeofTpacket3Hdr + unix.TPACKET_ALIGNMENT - 1) &^ (unix.TPACKET_ALIGNMENT - 1)

// readBlock calls handle for each packet of a block. offset is that of the first packet.
func readBlock(block []byte, offset, count int, handle func(*frame)) {
	for range count {
		if offset < 0 || offset+addressOffset+unix.SizeofSockaddrLinklayer > len(block) {
			return // a kernel never writes this
		}
		header := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[offset]))
		address := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&block[offset+addressOffset]))
		begin, network := offset+int(header.Mac), offset+int(header.Net)
		end := begin + int(header.Snaplen)
		if end > len(block) {
			return
		}
		f := frame{
			Frame: parser.Frame{Data: block[begin:end], Network: network - begin, Length: int(header.Len), EtherType: htons(address.Protocol)},
			time:  time.Unix(int64(header.Sec), int64(header.Nsec)), ifindex: int(address.Ifindex), outgoing: address.Pkttype == unix.PACKET_OUTGOING,
		}
		if header.Status&unix.TP_STATUS_VLAN_VALID != 0 {
			f.VLAN = int(header.Hv1.Vlan_tci & 0xfff)
			f.Length += 4 // the tag
		}
		handle(&f)
		offset += int(header.Next_offset)
	}
}

// drops returns how many packets found no room in the ring since the last call.
func (r *ring) drops() (uint64, error) {
	var (
		stats *unix.TpacketStatsV3
		err   error
	)
	controlErr := r.raw.Control(func(fd uintptr) {
		stats, err = unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if err = errors.Join(controlErr, err); err != nil {
		return 0, fmt.Errorf("read the count of lost packets: %w", err)
	}
	return uint64(stats.Drops), nil
}

// interfaceName returns the name of an interface in the ring's namespace; "" if it does not
// exist any more.
func (r *ring) interfaceName(index int) string {
	request := struct {
		name  [unix.IFNAMSIZ]byte
		index int32
		_     [20]byte
	}{index: int32(index)}
	var errno unix.Errno
	if err := r.raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, unix.SIOCGIFNAME, uintptr(unsafe.Pointer(&request)))
	}); err != nil || errno != 0 {
		return ""
	}
	return unix.ByteSliceToString(request.name[:])
}

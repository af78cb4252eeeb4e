/* A wall clock that can be stepped, for the processes that preload this: the kernel's, plus the nanoseconds that stand in
 * the file $LAB_CLOCK. It needs no headers, so that a bare compiler will do. The other clocks are left alone.
 *
 * Invariant: without the file, or before it can be read, the offset is 0; a step counts from the next call on.
 */
typedef long long nanoseconds;
struct timespec { long seconds, nanoseconds; };
struct timeval { long seconds, microseconds; };

extern char *getenv(const char *name);
extern int open(const char *path, int flags, ...);
extern int close(int descriptor);
extern void *mmap(void *address, unsigned long length, int protection, int flags, int descriptor, long offset);
extern void *dlsym(void *where, const char *name);

enum { REALTIME = 0, REALTIME_COARSE = 5, SECOND = 1000000000 };

static nanoseconds none;
static volatile nanoseconds *offset;

static void find_offset(void)
{
    const char *path = getenv("LAB_CLOCK");
    int descriptor = path ? open(path, 02000000 /* O_RDONLY | O_CLOEXEC */) : -1;
    void *place = descriptor < 0 ? (void *) -1 : mmap(0, 8, 1 /* PROT_READ */, 1 /* MAP_SHARED */, descriptor, 0);
    if (descriptor >= 0)
        close(descriptor);
    offset = place == (void *) -1 ? &none : place;
}

int clock_gettime(int clock, struct timespec *now)
{
    static int (*kernels)(int, struct timespec *);
    nanoseconds moment;
    int failed;
    if (!kernels)
        kernels = dlsym((void *) -1 /* RTLD_NEXT */, "clock_gettime");
    failed = kernels(clock, now);
    if (failed || (clock != REALTIME && clock != REALTIME_COARSE))
        return failed;
    if (!offset)
        find_offset();
    moment = now->seconds * (nanoseconds) SECOND + now->nanoseconds + *offset;
    now->seconds = moment / SECOND;
    now->nanoseconds = moment % SECOND;
    return 0;
}

int gettimeofday(struct timeval *now, void *zone)
{
    struct timespec exact;
    int failed = clock_gettime(REALTIME, &exact);
    (void) zone;
    now->seconds = exact.seconds;
    now->microseconds = exact.nanoseconds / 1000;
    return failed;
}

long time(long *now)
{
    struct timespec exact;
    clock_gettime(REALTIME, &exact);
    if (now)
        *now = exact.seconds;
    return exact.seconds;
}

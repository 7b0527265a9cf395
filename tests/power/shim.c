/* Loaded into a process with LD_PRELOAD: appends to a log what the process does to files
 * below one directory, with all data, in the order in which it happens.
 *
 * POWER_ROOT names the directory, POWER_LOG the log, which other processes may append to.
 * Calls that change something run under a lock, so that the log has their order. A sync runs
 * outside of it and is logged twice, at its beginning and at its end: what is written
 * meanwhile may be covered by it or not. recording.py reads the log.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MARK, CREATE, WRITE, TRUNCATE, RENAME, UNLINK, LINK, MKDIR, RMDIR, SYNC_BEGIN, SYNC_END,
       UNKNOWN };

struct record {
  uint32_t magic, kind;
  uint64_t inode;
  int64_t offset;
  uint32_t path_length, other_length;
  uint64_t data_length;
};

#define MAGIC 0x52574f50u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static uint32_t syncs; /* guarded by lock */

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("POWER_ROOT"), *log = getenv("POWER_LOG");
  if (!path || !log || strlen(path) >= sizeof root) return;
  strcpy(root, path);
  root_length = strlen(root);
  REAL(open);
  int fd = real(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 700); /* out of the way */
  close(fd);
}

static void put(int kind, uint64_t inode, int64_t offset, const char *path, const char *other,
                const void *data, size_t length) {
  struct record head = {MAGIC, kind, inode, offset, strlen(path), strlen(other), length};
  struct iovec parts[] = {{&head, sizeof head}, {(void *)path, head.path_length},
                          {(void *)other, head.other_length}, {(void *)data, length}};
  size_t all = sizeof head + head.path_length + head.other_length + length;
  REAL(writev);
  int saved = errno;
  if (real(log_fd, parts, 4) != (ssize_t)all) abort();
  errno = saved;
}

static int is_below(const char *path) {
  return log_fd >= 0 && !strncmp(path, root, root_length) &&
         (path[root_length] == '/' || !path[root_length]);
}

/* The path behind a name as it was given; 0 if it is not below the directory. */
static int resolve(int directory, const char *name, char *path) {
  if (log_fd < 0) return 0;
  if (name[0] == '/') {
    snprintf(path, PATH_MAX, "%s", name);
  } else {
    char base[PATH_MAX], link[64];
    ssize_t length = 0;
    if (directory == AT_FDCWD) {
      snprintf(link, sizeof link, "/proc/self/cwd");
    } else {
      snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    }
    length = readlink(link, base, sizeof base - 1);
    if (length <= 0) return 0;
    base[length] = 0;
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
  }
  return is_below(path);
}

/* Inode and path of an open file; 0 if it is not below the directory. */
static uint64_t behind(int fd, char *path) {
  struct stat status;
  char link[64];
  if (log_fd < 0 || fd < 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  if (!is_below(path) || fstat(fd, &status)) return 0;
  return status.st_ino;
}

/* Names */

static int opened(int directory, const char *name, int flags, mode_t mode) {
  char path[PATH_MAX];
  struct stat status;
  REAL(openat);
  if (!(flags & (O_CREAT | O_TRUNC)) || !resolve(directory, name, path))
    return real(directory, name, flags, mode);
  pthread_mutex_lock(&lock);
  int was_there = !stat(path, &status);
  int fd = real(directory, name, flags, mode);
  if (fd >= 0 && !fstat(fd, &status)) {
    if (!was_there) put(CREATE, status.st_ino, 0, path, "", "", 0);
    else if (flags & O_TRUNC) put(TRUNCATE, status.st_ino, 0, path, "", "", 0);
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

#define OPEN(name, ...) \
  { \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
      va_list rest; \
      va_start(rest, flags); \
      mode = va_arg(rest, mode_t); \
      va_end(rest); \
    } \
    return opened(__VA_ARGS__, flags, mode); \
  }

int open(const char *name, int flags, ...) OPEN(open, AT_FDCWD, name)
int open64(const char *name, int flags, ...) OPEN(open64, AT_FDCWD, name)
int openat(int at, const char *name, int flags, ...) OPEN(openat, at, name)
int openat64(int at, const char *name, int flags, ...) OPEN(openat64, at, name)

static int named(int kind, int at, const char *name, int (*act)(int, const char *, int),
                 int argument) {
  char path[PATH_MAX];
  if (!resolve(at, name, path)) return act(at, name, argument);
  pthread_mutex_lock(&lock);
  int result = act(at, name, argument);
  if (!result) put(kind, 0, 0, path, "", "", 0);
  pthread_mutex_unlock(&lock);
  return result;
}

static int do_unlink(int at, const char *name, int flags) {
  REAL(unlinkat);
  return real(at, name, flags);
}

static int do_mkdir(int at, const char *name, int mode) {
  REAL(mkdirat);
  return real(at, name, (mode_t)mode);
}

int unlink(const char *name) { return named(UNLINK, AT_FDCWD, name, do_unlink, 0); }
int rmdir(const char *name) { return named(RMDIR, AT_FDCWD, name, do_unlink, AT_REMOVEDIR); }
int unlinkat(int at, const char *name, int flags) {
  return named(flags & AT_REMOVEDIR ? RMDIR : UNLINK, at, name, do_unlink, flags);
}
int mkdir(const char *name, mode_t mode) {
  return named(MKDIR, AT_FDCWD, name, do_mkdir, (int)mode);
}
int mkdirat(int at, const char *name, mode_t mode) {
  return named(MKDIR, at, name, do_mkdir, (int)mode);
}

static int moved(int kind, int at, const char *name, int other_at, const char *other,
                 unsigned flags) {
  char path[PATH_MAX], other_path[PATH_MAX];
  REAL(renameat2);
  __typeof__(linkat) *link_it = (__typeof__(linkat) *)dlsym(RTLD_NEXT, "linkat");
  int here = resolve(at, name, path), there = resolve(other_at, other, other_path);
  if (here || there) pthread_mutex_lock(&lock);
  int result = kind == RENAME ? real(at, name, other_at, other, flags)
                              : link_it(at, name, other_at, other, (int)flags);
  if (here || there) {
    struct stat status = {0};
    if (!result && !lstat(other_path, &status))
      put(here && there && (kind == LINK || !flags) ? kind : UNKNOWN, status.st_ino, 0, path,
          other_path, "", 0);
    pthread_mutex_unlock(&lock);
  }
  return result;
}

int rename(const char *name, const char *other) {
  return moved(RENAME, AT_FDCWD, name, AT_FDCWD, other, 0);
}
int renameat(int at, const char *name, int other_at, const char *other) {
  return moved(RENAME, at, name, other_at, other, 0);
}
int renameat2(int at, const char *name, int other_at, const char *other, unsigned flags) {
  return moved(RENAME, at, name, other_at, other, flags);
}
int link(const char *name, const char *other) {
  return moved(LINK, AT_FDCWD, name, AT_FDCWD, other, 0);
}
int linkat(int at, const char *name, int other_at, const char *other, int flags) {
  return moved(LINK, at, name, other_at, other, (unsigned)flags);
}

/* Content */

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  char path[PATH_MAX];
  REAL(pwrite64);
  uint64_t inode = behind(fd, path);
  if (!inode) return real(fd, data, length, offset);
  pthread_mutex_lock(&lock);
  ssize_t written = real(fd, data, length, offset);
  if (written > 0) put(WRITE, inode, offset, path, "", data, (size_t)written);
  pthread_mutex_unlock(&lock);
  return written;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  return pwrite64(fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length) {
  char path[PATH_MAX];
  REAL(write);
  uint64_t inode = behind(fd, path);
  if (!inode) return real(fd, data, length);
  pthread_mutex_lock(&lock);
  ssize_t written = real(fd, data, length);
  if (written > 0)
    put(WRITE, inode, lseek(fd, 0, SEEK_CUR) - written, path, "", data, (size_t)written);
  pthread_mutex_unlock(&lock);
  return written;
}

int ftruncate64(int fd, off64_t length) {
  char path[PATH_MAX];
  REAL(ftruncate64);
  uint64_t inode = behind(fd, path);
  if (!inode) return real(fd, length);
  pthread_mutex_lock(&lock);
  int result = real(fd, length);
  if (!result) put(TRUNCATE, inode, length, path, "", "", 0);
  pthread_mutex_unlock(&lock);
  return result;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* Room that is reserved reads as zeros: the file is as long as if it had been cut to its length. */

static int reserved(int fd, int (*act)(int, int, off64_t, off64_t), int mode, off64_t from,
                    off64_t length) {
  char path[PATH_MAX];
  struct stat status;
  uint64_t inode = behind(fd, path);
  if (!inode) return act(fd, mode, from, length);
  pthread_mutex_lock(&lock);
  int result = act(fd, mode, from, length);
  if (mode) put(UNKNOWN, inode, 0, path, "fallocate64", "", 0);
  else if (!result && !fstat(fd, &status)) put(TRUNCATE, inode, status.st_size, path, "", "", 0);
  pthread_mutex_unlock(&lock);
  return result;
}

static int do_fallocate(int fd, int mode, off64_t from, off64_t length) {
  REAL(fallocate64);
  return real(fd, mode, from, length);
}

static int do_posix_fallocate(int fd, int mode, off64_t from, off64_t length) {
  (void)mode;
  REAL(posix_fallocate64);
  return real(fd, from, length);
}

int fallocate64(int fd, int mode, off64_t from, off64_t length) {
  return reserved(fd, do_fallocate, mode, from, length);
}
int posix_fallocate64(int fd, off64_t from, off64_t length) {
  return reserved(fd, do_posix_fallocate, 0, from, length);
}

/* What nothing here is known to do: recording.py refuses a log with such a call. */

static void unknown(int fd, const char *call) {
  char path[PATH_MAX];
  if (behind(fd, path)) put(UNKNOWN, 0, 0, path, call, "", 0);
}

#define UNKNOWN_CALL(result, name, types, arguments, fd) \
  result name types { \
    REAL(name); \
    unknown(fd, #name); \
    return real arguments; \
  }

UNKNOWN_CALL(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), fd)
UNKNOWN_CALL(ssize_t, pwritev64, (int fd, const struct iovec *parts, int count, off64_t offset),
             (fd, parts, count, offset), fd)
UNKNOWN_CALL(ssize_t, copy_file_range,
             (int from, off64_t *at, int to, off64_t *to_at, size_t length, unsigned flags),
             (from, at, to, to_at, length, flags), to)

/* Syncs */

static int synced(int fd, int (*act)(int)) {
  char path[PATH_MAX];
  uint64_t inode = behind(fd, path);
  if (!inode) return act(fd);
  pthread_mutex_lock(&lock);
  int64_t number = (int64_t)getpid() << 32 | ++syncs;
  put(SYNC_BEGIN, inode, number, path, "", "", 0);
  pthread_mutex_unlock(&lock);
  int result = act(fd);
  if (!result) {
    pthread_mutex_lock(&lock);
    put(SYNC_END, inode, number, path, "", "", 0);
    pthread_mutex_unlock(&lock);
  }
  return result;
}

int fsync(int fd) {
  REAL(fsync);
  return synced(fd, real);
}
int fdatasync(int fd) {
  REAL(fdatasync);
  return synced(fd, real);
}

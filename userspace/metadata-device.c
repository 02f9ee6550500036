// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: metadata devices' I/O. The contract is in metadata-device.h.
 */

#include "metadata-device.h"
#include "dmbackup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void meta_init(struct meta *m, const struct device *d)
{
	memset(m, 0, sizeof(*m));
	m->d = *d;
	m->fd = -1;
}

int meta_find(const char *arg, struct meta *m)
{
	struct device d = { .arg = arg };
	struct stat st;
	bool is_file = (arg[0] == '/' || arg[0] == '.') && !stat(arg, &st) &&
		       S_ISREG(st.st_mode);
	int r = EX_OK;

	if (is_file) {
		d.major = major(st.st_dev);
		d.minor = minor(st.st_dev);
		d.sectors = st.st_size / 512;
	} else {
		r = device_find(arg, &d);
	}
	meta_init(m, &d);
	m->is_file = is_file;
	return r;
}

/* @flags: O_EXCL: nobody else may use it. 0 or errno; remembers if it is busy. */
static int try_open(struct meta *m, int flags)
{
	m->fd = m->is_file ? open(m->d.arg, (flags & ~O_EXCL) | O_CLOEXEC) :
			     device_open(&m->d, flags | O_DIRECT);
	if (m->fd >= 0)
		return 0;
	m->busy = errno == EBUSY;
	return errno;
}

static int open_result(const struct meta *m, int err)
{
	if (err)
		say("%s: can't be opened: %s", m->d.arg, strerror(err));
	return code_of_errno(err);
}

int meta_open_unused(struct meta *m, int flags)
{
	int err = try_open(m, flags | O_EXCL);

	if (!m->busy)
		return open_result(m, err);
	say("%s: is in use", m->d.arg);
	return EX_REFUSED;
}

int meta_open_anyhow(struct meta *m)
{
	int err = try_open(m, O_RDONLY | O_EXCL);

	if (m->busy) {
		say("%s: is in use: what is read of it may be in motion",
		    m->d.arg);
		err = try_open(m, O_RDONLY);
		m->busy = true;
	}
	return open_result(m, err);
}

void meta_close(struct meta *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}

bool meta_read(const struct meta *m, uint64_t offset, void *buf, size_t size)
{
	size_t done = 0;
	ssize_t got;

	while (done < size) {
		got = pread(m->fd, (char *)buf + done, size - done,
			    offset + done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			memset(buf, 0, size);
			return false;
		}
		done += got;
	}
	return true;
}

int meta_write(const struct meta *m, uint64_t offset, const void *buf,
	       size_t size)
{
	size_t done = 0;
	ssize_t put;

	while (done < size) {
		put = pwrite(m->fd, (const char *)buf + done, size - done,
			     offset + done);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			say("%s: can't be written: %s", m->d.arg,
			    strerror(put ? errno : ENOSPC));
			return EX_FAILED;
		}
		done += put;
	}
	return EX_OK;
}

int meta_sync(const struct meta *m)
{
	if (!fsync(m->fd))
		return EX_OK;
	say("%s: can't be written: %s", m->d.arg, strerror(errno));
	return EX_FAILED;
}

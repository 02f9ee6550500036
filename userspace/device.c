// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: devices. The contract is in device.h.
 */

#include "device.h"
#include "dmbackup.h"

#include <blkid/blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <libmount/libmount.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAX_DEPTH 32

/*------------------------------------------------------------------*/
/* sysfs */

/* Reads the first line of /sys/dev/block/MAJ:MIN/WHAT. */
static bool sys_read(unsigned int major, unsigned int minor, const char *what,
		     char *buf, size_t size)
{
	char path[PATH_MAX];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major, minor,
		 what);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(buf, size, f);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	fclose(f);
	return ok;
}

static uint64_t sys_sectors(unsigned int major, unsigned int minor)
{
	char buf[32];

	return sys_read(major, minor, "size", buf, sizeof(buf)) ?
	       strtoull(buf, NULL, 10) : 0;
}

unsigned int device_block_size(const struct device *d)
{
	char buf[32];

	return sys_read(d->major, d->minor, "queue/logical_block_size", buf,
			sizeof(buf)) ? strtoul(buf, NULL, 10) : 512;
}

/*------------------------------------------------------------------*/
/* Names */

/*
 * The device of the file system that is mounted at @path, or, if it need not be
 * @exactly there, that @path is in. By libmount: st_dev may be anonymous.
 */
static bool mounted_at(const char *path, bool exactly, dev_t *dev)
{
	struct libmnt_table *tab = mnt_new_table_from_file("/proc/self/mountinfo");
	char *real = realpath(path, NULL);	/* what the table has */
	struct libmnt_fs *fs = NULL;
	const char *src;
	struct stat st;
	bool ok = false;

	if (tab && real)
		fs = exactly ?
		     mnt_table_find_target(tab, real, MNT_ITER_BACKWARD) :
		     mnt_table_find_mountpoint(tab, real, MNT_ITER_BACKWARD);
	src = fs ? mnt_fs_get_source(fs) : NULL;
	if (src && !stat(src, &st) && S_ISBLK(st.st_mode)) {
		*dev = st.st_rdev;
		ok = true;
	} else if (fs && major(mnt_fs_get_devno(fs))) {
		*dev = mnt_fs_get_devno(fs);
		ok = true;
	}
	mnt_unref_table(tab);
	free(real);
	return ok;
}

/* "vg/lv" as LVM names it in dm: hyphens doubled. To be freed. */
static char *lv_dm_name(const char *arg)
{
	const char *slash = strchr(arg, '/');
	char vg[DM_NAME_SIZE], name[2 * DM_NAME_SIZE + 2], *to = name;
	const char *p;

	if (!slash || slash == arg || !slash[1] || strchr(slash + 1, '/') ||
	    (size_t)(slash - arg) >= sizeof(vg) ||
	    strlen(slash + 1) >= DM_NAME_SIZE)
		return NULL;
	for (p = arg; p < slash; p++) {
		*to++ = *p;
		if (*p == '-')
			*to++ = '-';
	}
	*to++ = '-';
	for (p = slash + 1; *p; p++) {
		*to++ = *p;
		if (*p == '-')
			*to++ = '-';
	}
	*to = '\0';
	return strlen(name) < DM_NAME_SIZE ? xstrdup(name) : NULL;
}

/* A name that dm could have: it must not reach the kernel otherwise. */
static bool is_dm_name(const char *name)
{
	return *name && strlen(name) < DM_NAME_SIZE && !strchr(name, '/') &&
	       strcmp(name, ".") && strcmp(name, "..");
}

static int find_path(const char *arg, dev_t *dev)
{
	struct stat st;

	if (stat(arg, &st)) {
		say("%s: %s", arg, strerror(errno));
		return EX_NODEV;
	}
	if (S_ISBLK(st.st_mode)) {
		*dev = st.st_rdev;
		return EX_OK;
	}
	if (S_ISDIR(st.st_mode) && mounted_at(arg, true, dev))
		return EX_OK;
	say("%s: neither a block device nor a mount point", arg);
	return EX_NODEV;
}

static int find_devno(const char *arg, dev_t *dev)
{
	struct dm_dev dm;
	unsigned int ma, mi;
	char *name, rest;
	int r = -ENXIO;
	bool is_lv;

	if (sscanf(arg, "%u:%u%c", &ma, &mi, &rest) == 2) {
		*dev = makedev(ma, mi);
		return EX_OK;
	}
	if (arg[0] == '/' || arg[0] == '.')
		return find_path(arg, dev);
	name = lv_dm_name(arg);
	if (name)
		r = dm_by_name(name, &dm);
	else if (is_dm_name(arg))
		r = dm_by_name(arg, &dm);
	is_lv = name;
	free(name);
	if (!r) {
		*dev = makedev(dm.major, dm.minor);
		return EX_OK;
	}
	if (r == -EACCES || r == -EPERM) {
		say("%s: not permitted; this needs root", arg);
		return EX_FAILED;
	}
	say("%s: no such device", arg);
	if (is_lv)
		hint("if it is a logical volume that is not active: lvchange -ay -K %s",
		     arg);
	return EX_NODEV;
}

static int find_number(const char *arg, struct device *d)
{
	dev_t dev;
	int r;

	memset(d, 0, sizeof(*d));
	d->arg = arg;
	r = find_devno(arg, &dev);
	if (r)
		return r;
	d->major = major(dev);
	d->minor = minor(dev);
	return EX_OK;
}

static int read_state(struct device *d)
{
	d->is_dm = !dm_by_devno(d->major, d->minor, &d->dm);
	d->sectors = sys_sectors(d->major, d->minor);
	if (!d->sectors && !d->is_dm) {
		say("%s: no such device", d->arg);
		return EX_NODEV;
	}
	return EX_OK;
}

int device_find(const char *arg, struct device *d)
{
	int r = find_number(arg, d);

	return r ? r : read_state(d);
}

/*
 * The lock is on an open file, and is gone with the last process that has it
 * open: with us, or with the guard that cleans up after us. The file stays: if
 * it were removed, a third could lock a new one meanwhile.
 */
static int lock(const struct device *d)
{
	uint64_t end = now_ms() + LOCK_MS;
	char path[64];
	int fd;

	mkdir(RUN_DIR, 0700);
	snprintf(path, sizeof(path), RUN_DIR "/%u:%u.lock", d->major, d->minor);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		say("%s: %s: %s", d->arg, path, strerror(errno));
		return EX_FAILED;
	}
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno == EINTR || (errno == EWOULDBLOCK && now_ms() < end)) {
			usleep(20000);
			continue;
		}
		say("%s: another dmbackup is at work on it", d->arg);
		close(fd);
		return EX_REFUSED;
	}
	return EX_OK;
}

int device_find_locked(const char *arg, struct device *d)
{
	int r = find_number(arg, d);

	if (!r)
		r = lock(d);
	return r ? r : read_state(d);
}

static int check_filter(const struct device *d)
{
	struct dm_tab tab;
	bool filter;

	filter = d->is_dm && !dm_tab_read(d->dm.name, &tab);
	if (filter) {
		filter = dm_tab_is(&tab, "backup");
		dm_tab_free(&tab);
	}
	if (filter)
		return EX_OK;
	say("%s: has no backup filter", d->arg);
	hint("attach one first: dmbackup attach %s", d->arg);
	return EX_NODEV;
}

int device_find_filter(const char *arg, struct device *d)
{
	int r = device_find(arg, d);

	return r ? r : check_filter(d);
}

int device_find_filter_locked(const char *arg, struct device *d)
{
	int r = device_find_locked(arg, d);

	return r ? r : check_filter(d);
}

static bool is_view(const struct dm_dev *dm)
{
	return strstr(dm->uuid, VIEW_UUID_INFIX) ||
	       !strncmp(dm->uuid, VIEW_UUID, strlen(VIEW_UUID));
}

char *device_lv_name(const struct dm_dev *dm)
{
	char *name, *vg, *lv, *layer, *result = NULL;

	if (strncmp(dm->uuid, "LVM-", 4) || is_view(dm))
		return NULL;
	name = xstrdup(dm->name);
	vg = name;
	lv = layer = NULL;
	if (dm_split_lvm_name(NULL, name, &vg, &lv, &layer) && lv && *lv &&
	    (!layer || !*layer))
		result = xasprintf("%s/%s", vg, lv);
	free(name);
	return result;
}

char *device_mountpoint(const struct device *d)
{
	struct libmnt_table *tab = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_fs *fs;
	char *where = NULL;

	if (!tab)
		return NULL;
	fs = mnt_table_find_devno(tab, makedev(d->major, d->minor),
				  MNT_ITER_FORWARD);
	if (fs && mnt_fs_get_target(fs))
		where = xstrdup(mnt_fs_get_target(fs));
	mnt_unref_table(tab);
	return where;
}

bool device_is_seen_at(const struct device *d, const char *dir)
{
	dev_t dev;

	return mounted_at(dir, true, &dev) && dev == makedev(d->major, d->minor);
}

int device_open(const struct device *d, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/block/%u:%u", d->major, d->minor);
	fd = open(path, flags | O_CLOEXEC);
	if (fd >= 0 || errno != ENOENT)
		return fd;
	/* Without udev there is no node of that name: make one. */
	snprintf(path, sizeof(path), "/run/dmbackup.%d.node", getpid());
	if (mknod(path, S_IFBLK | 0600, makedev(d->major, d->minor)))
		return -1;
	fd = open(path, flags | O_CLOEXEC);
	unlink(path);
	return fd;
}

/*------------------------------------------------------------------*/
/* What stands on what */

static bool stands_on(unsigned int major, unsigned int minor,
		      const struct device *on, unsigned int depth);

/* The device that holds the file behind a loop device. */
static bool loop_stands_on(unsigned int ma, unsigned int mi,
			   const struct device *on, unsigned int depth)
{
	char file[PATH_MAX];
	struct stat st;
	dev_t dev;

	if (!sys_read(ma, mi, "loop/backing_file", file, sizeof(file)) ||
	    stat(file, &st))
		return false;
	if (S_ISBLK(st.st_mode))
		return stands_on(major(st.st_rdev), minor(st.st_rdev), on,
				 depth);
	if (stands_on(major(st.st_dev), minor(st.st_dev), on, depth))
		return true;
	/* A file system with a device number of its own (btrfs). */
	return !major(st.st_dev) && mounted_at(file, false, &dev) &&
	       stands_on(major(dev), minor(dev), on, depth);
}

static bool slaves_stand_on(unsigned int ma, unsigned int mi,
			    const struct device *on, unsigned int depth)
{
	char path[PATH_MAX], devno[32];
	struct dirent *e;
	unsigned int x, y;
	bool yes = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/slaves", ma, mi);
	dir = opendir(path);
	while (dir && !yes && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "slaves/%s/dev", e->d_name);
		if (sys_read(ma, mi, path, devno, sizeof(devno)) &&
		    sscanf(devno, "%u:%u", &x, &y) == 2)
			yes = stands_on(x, y, on, depth);
	}
	if (dir)
		closedir(dir);
	return yes;
}

static bool stands_on(unsigned int ma, unsigned int mi,
		      const struct device *on, unsigned int depth)
{
	char buf[32];
	unsigned int x, y;

	if (ma == on->major && mi == on->minor)
		return true;
	if (depth >= MAX_DEPTH)
		return false;
	/* A partition stands on its disk. */
	if (sys_read(ma, mi, "partition", buf, sizeof(buf)) &&
	    sys_read(ma, mi, "../dev", buf, sizeof(buf)) &&
	    sscanf(buf, "%u:%u", &x, &y) == 2 &&
	    stands_on(x, y, on, depth + 1))
		return true;
	return slaves_stand_on(ma, mi, on, depth + 1) ||
	       loop_stands_on(ma, mi, on, depth + 1);
}

bool device_stands_on(const struct device *d, const struct device *on)
{
	return stands_on(d->major, d->minor, on, 0);
}

int device_check_apart(const struct device *to, const struct device *d)
{
	if (to->major == d->major && to->minor == d->minor) {
		say("%s: is %s itself", to->arg, d->arg);
		return EX_REFUSED;
	}
	if (device_stands_on(to, d)) {
		say("%s: stands on %s: its writes would come back to the filter",
		    to->arg, d->arg);
		return EX_REFUSED;
	}
	return EX_OK;
}

/* Volumes can be made as long, as they have to be for what was rounded up to come back. */
static void hint_longer(const struct device *d, uint64_t bytes)
{
	char *lv = d->is_dm ? device_lv_name(&d->dm) : NULL;
	struct dm_tab tab = { 0 };

	if (lv && !dm_tab_read(d->dm.name, &tab))
		hint("make it as long, then give --allow-larger: %s %llub %s",
		     dm_tab_is(&tab, "backup") ? "dmbackup resize --size" :
		     "lvextend -L", (unsigned long long)bytes, lv);
	dm_tab_free(&tab);
	free(lv);
}

int device_check_length(const struct device *to, const struct device *d,
			bool larger)
{
	bool shorter = to->sectors < d->sectors;

	if (to->sectors == d->sectors || (larger && !shorter))
		return EX_OK;
	say("%s: is %s than %s: it has %llu bytes, not %llu", to->arg,
	    shorter ? "shorter" : "longer", d->arg,
	    (unsigned long long)to->sectors * 512,
	    (unsigned long long)d->sectors * 512);
	if (shorter)
		hint_longer(to, d->sectors * 512);
	else
		hint("--allow-larger leaves the rest of it as it is");
	return EX_REFUSED;
}

/*------------------------------------------------------------------*/
/* Is there anything to lose on it? */

/*
 * What libblkid finds on it: the value of @key, or (NULL) the type of what there
 * is. To be freed; NULL if nothing.
 */
static char *blkid_value(int fd, const char *key)
{
	blkid_probe pr = blkid_new_probe();
	const char *type = NULL;
	char *found = NULL;

	if (!pr)
		return NULL;
	if (!blkid_probe_set_device(pr, fd, 0, 0)) {
		blkid_probe_enable_superblocks(pr, 1);
		blkid_probe_enable_partitions(pr, 1);
		if (!blkid_do_safeprobe(pr) &&
		    (key ? !blkid_probe_lookup_value(pr, key, &type, NULL) :
		     !blkid_probe_lookup_value(pr, "TYPE", &type, NULL) ||
		     !blkid_probe_lookup_value(pr, "PTTYPE", &type, NULL)))
			found = xstrdup(type);
	}
	blkid_free_probe(pr);
	return found;
}

/* Opens what nobody else uses. 0, or an exit code after saying why not. */
static int open_unused(const struct device *d, int *fd)
{
	char *where = device_mountpoint(d);
	int err;

	if (where) {
		say("%s: is mounted on %s", d->arg, where);
		free(where);
		return EX_REFUSED;
	}
	*fd = device_open(d, O_RDONLY | O_EXCL);
	err = errno;
	if (*fd >= 0)
		return EX_OK;
	say("%s: %s", d->arg, err == EBUSY ?
	    "is in use (by LVM, md, dm, swap, or another job)" : strerror(err));
	return code_of_errno(err);
}

/* The UUID of the file system on a device that may be in use. To be freed. */
static char *uuid_of(const struct device *d)
{
	int fd = device_open(d, O_RDONLY);
	char *uuid = fd < 0 ? NULL : blkid_value(fd, "UUID");

	if (fd >= 0)
		close(fd);
	return uuid;
}

char *device_uuid_below(const char *file)
{
	struct device d = { 0 };
	dev_t dev;

	if (!mounted_at(file, false, &dev))
		return NULL;
	d.major = major(dev);
	d.minor = minor(dev);
	return uuid_of(&d);
}

char *device_file_system(const struct device *d)
{
	int fd = device_open(d, O_RDONLY);
	char *type = fd < 0 ? NULL : blkid_value(fd, "TYPE");

	if (fd >= 0)
		close(fd);
	return type;
}

/* The type of what is found on it. To be freed, or NULL. */
static char *type_of(const struct device *d)
{
	int fd = device_open(d, O_RDONLY);
	char *type = fd < 0 ? NULL : blkid_value(fd, NULL);

	if (fd >= 0)
		close(fd);
	return type;
}

/* Is there the same, or nothing, on both? */
static bool same_type(const struct device *d, const struct device *of)
{
	char *mine = type_of(d), *theirs = type_of(of);
	bool same = mine && theirs ? !strcmp(mine, theirs) : mine == theirs;

	free(mine);
	free(theirs);
	return same;
}

enum likeness device_likeness(const struct device *d, const struct device *of)
{
	char *mine = uuid_of(d), *theirs = uuid_of(of);
	enum likeness like;

	if (theirs)
		like = mine && !strcmp(mine, theirs) ? LIKE_SAME : LIKE_OTHER;
	else
		like = same_type(d, of) ? LIKE_UNKNOWN : LIKE_TYPE;
	free(mine);
	free(theirs);
	return like;
}

int device_check_unused(const struct device *d)
{
	int fd, r = open_unused(d, &fd);

	if (!r)
		close(fd);
	return r;
}

int device_check_target(const struct device *d, bool force)
{
	char *found;
	int fd, r;

	r = open_unused(d, &fd);
	if (r)
		return r;
	found = force ? NULL : blkid_value(fd, NULL);
	close(fd);
	if (found) {
		say("%s: holds %s data", d->arg, found);
		hint("give --force to overwrite it");
		free(found);
		return EX_REFUSED;
	}
	return EX_OK;
}

/* 0 or an errno. Each of what is found is wiped, and looked for once more. */
static int wipe_signatures(int fd)
{
	blkid_probe pr = blkid_new_probe();
	int r = EIO;

	if (!pr)
		return ENOMEM;
	if (!blkid_probe_set_device(pr, fd, 0, 0)) {
		blkid_probe_enable_superblocks(pr, 1);
		blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_MAGIC);
		blkid_probe_enable_partitions(pr, 1);
		blkid_probe_set_partitions_flags(pr, BLKID_PARTS_MAGIC);
		do {
			r = blkid_do_probe(pr);
		} while (!r && !blkid_do_wipe(pr, 0));
		/* 1: nothing is left */
		r = r == 1 ? 0 : EIO;
	}
	blkid_free_probe(pr);
	return r || !fsync(fd) ? r : errno;
}

int device_wipe_signatures(const struct device *d)
{
	int fd = device_open(d, O_RDWR | O_EXCL);
	int err = fd < 0 ? errno : wipe_signatures(fd);

	if (fd >= 0)
		close(fd);
	if (!err)
		return EX_OK;
	say("%s: may be taken for the device that was viewed: signatures can't be wiped: %s",
	    d->arg, strerror(err));
	hint("wipefs --all %s", d->arg);
	return EX_FAILED;
}

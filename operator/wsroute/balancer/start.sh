#!/bin/sh
# Runs nginx for wsroute: start.sh CONF RUN BOOTSTRAP
#
#   CONF       the folder with the versions, <version>.conf, which the agent writes
#   RUN        the folder for all that nginx and this script make; nobody else writes there, but into the FIFO
#   BOOTSTRAP  the configuration to start with before the first version was loaded
#
# Environment: WSROUTE_NGINX, the binary (default: nginx). WSROUTE_TERM_DELAY, the seconds for which nginx goes on
# serving after SIGTERM, so that every proxy has heard that the pod is leaving (default: 5). WSROUTE_GRACE_PERIOD, the
# pod's terminationGracePeriodSeconds: workers that still hold sockets are ended one at a time, evenly over what the delay
# leaves of it, the last one five seconds before it is over. Each end is told in the log, their sum in RUN/closed (numbers
# of sockets and of workers). Without it, or where that is no time at all, they end when the container is killed, untold.
# WSROUTE_NGINX_MODULES, the folder of nginx's dynamic modules (default: the one that nginx was built for).
#
# Commands are lines in the FIFO RUN/control; the answer is the file RUN/results/ID, `ok` or `failed` in its first line
# and nginx's words below:
#   test ID VERSION   has nginx check CONF/VERSION.conf; what is being served is not touched
#   load ID VERSION   brings it in; `ok` once no accepting worker runs anything else, `failed` if nginx went on as before
#   survey ID         tells of the old workers, those that finish their sockets: a line for each below `ok`, as
#                     `GENERATION AGE PID SOCKETS`. A generation is what one reload left; its age is the seconds since then
#   retire ID PID     ends one old worker, and so closes the sockets that it still holds; their number stands below `ok`.
#                     `failed` when no such worker exists: one that accepts, or another process, is never touched
#   quit ID           ends nginx gracefully: it closes its listeners, its workers live until their sockets end
# The script's own lines in the same FIFO are bare words (ended, retry, leave, hurry, turn, cool), which only make it
# look. RUN/leaving stands from SIGTERM on: it holds the machine's hundredths of a second at that moment, and for how many
# seconds more sockets may live (0: not known). RUN/finished stands once nginx has ended. RUN/nginx-version and
# RUN/njs-version hold versions, of njs 0 where there is none or one before 0.8.1. njs needs no line in a configuration, be
# it built in or a module's file.
#
# The first SIGTERM, SIGQUIT or SIGINT ends nginx gracefully after the delay, a second one without delay, a third one at once.
#
# Processes: the main shell (PID 1 in the container) does nothing but wait, which is the one state in which a shell hears
# a signal without fail, and in which it buries orphans. The controller obeys the FIFO. The keeper waits for nginx. nginx
# has a process group of its own, so that the workers of a killed master can still be told to go.

set -u
umask 027
LC_ALL=C
export LC_ALL

CONF=$1
RUN=$2
BOOTSTRAP=$3
# nginx itself reads a variable NGINX: the sockets that it inherits.
unset NGINX
BINARY=${WSROUTE_NGINX:-nginx}
DELAY=${WSROUTE_TERM_DELAY:-5}
GRACE=${WSROUTE_GRACE_PERIOD:-0}
case $GRACE in *[!0-9]*) GRACE=0 ;; esac
# Seconds that are left for telling what was closed.
FAREWELL=5

# About 10 s in steps of about 6 ms: nginx needs one second for 10,000 routes.
PATIENCE=1600
# About 1 s, for workers to close their listeners.
BURIAL=160

# What a nginx before has left of its table, and what is said of one that dies of it: it does not say so in its log.
STATE=$RUN/table.json
SILENT='nginx ended without a word.'

say() {
    printf 'wsroute: %s\n' "$*" >&2
}

nap() {
    # Fractions are no POSIX, but coreutils and busybox know them.
    sleep "${1:-0.005}" 2>/dev/null || sleep 1
}

# clock: sets $clock to the hundredths of a second since the machine's start, without a process of its own.
clock() {
    read -r clock clock_idle </proc/uptime
    clock=${clock%.*}${clock#*.}
    # In the first second it begins with zeros, which would make it an octal number.
    clock=${clock#0}
    clock=${clock#0}
}

# later SECONDS WORD: puts a word into the FIFO after a while. Nothing is held open meanwhile but the FIFO.
later() {
    (
        # Where there are no fractions, the next whole second.
        sleep "$1" 3>&- || sleep "$((${1%%.*} + 1))" 3>&-
        echo "$2" >&3
    ) </dev/null >/dev/null 2>&1 &
}

# --- Processes ------------------------------------------------------------------------------------------------------

# kin FIELD PID: sets $kin to the processes whose parent (FIELD ppid) or process group (pgrp) is PID.
kin() {
    kin=
    if [ "$1" = ppid ] && [ -r "/proc/$2/task/$2/children" ]; then
        # The kernel may leave out a child when another one ends while it reads: two equal answers are believed.
        kin_before=-
        while [ "$kin" != "$kin_before" ]; do
            kin_before=$kin
            kin=
            read -r kin 2>/dev/null <"/proc/$2/task/$2/children"
        done
        return 0
    fi
    for kin_entry in /proc/[0-9]*; do
        kin_line=
        read -r kin_line 2>/dev/null <"$kin_entry/stat" || continue
        # What follows the name in parentheses: state, parent, process group.
        kin_line=${kin_line##*) }
        kin_line=${kin_line#* }
        case $1 in
            ppid) kin_of=${kin_line%% *} ;;
            *)
                kin_line=${kin_line#* }
                kin_of=${kin_line%% *}
                ;;
        esac
        [ "$kin_of" = "$2" ] && kin="$kin ${kin_entry#/proc/}"
    done
    return 0
}

# accepting FIELD PID: sets $accepting to those of kin's processes that are workers and take new connections.
# A worker has its title once it is initialised, and another one from the moment at which it has closed its listeners.
accepting() {
    accepting=
    kin "$1" "$2"
    for accepting_pid in $kin; do
        accepting_title=
        read -r accepting_title 2>/dev/null <"/proc/$accepting_pid/cmdline"
        case $accepting_title in
            *'worker process is shutting down'*) ;;
            *'worker process'*) accepting="$accepting $accepting_pid" ;;
        esac
    done
}

# old_workers: sets $old_workers to the workers that finish their sockets: the master's, and those of masters before it.
old_workers() {
    old_workers=
    old_found=
    if [ -n "$master" ]; then
        kin ppid "$master"
        old_found=$kin
    fi
    for old_group in $retired; do
        kin pgrp "$old_group"
        old_found="$old_found $kin"
    done
    for old_pid in $old_found; do
        old_title=
        read -r old_title 2>/dev/null <"/proc/$old_pid/cmdline"
        case $old_title in
            *'worker process is shutting down'*) old_workers="$old_workers $old_pid" ;;
        esac
    done
}

# count_sockets PID...: sets $counts to words `PID:NUMBER`, the numbers of their clients. A proxied connection has two
# ends, and a nginx that finishes its sockets has no others. The kernel's tables name a connection by the inode that the
# descriptor is a link to; they are large, and are read once for all workers.
count_sockets() {
    # shellcheck disable=SC2012 # the names are numbers
    counts=$(
        {
            for count_pid in "$@"; do
                echo "worker $count_pid"
                ls -l "/proc/$count_pid/fd"
            done
            cat /proc/net/tcp /proc/net/tcp6
        } 2>/dev/null 3>&- | awk '
            $1 == "worker" && NF == 2 { ends[pid = $2] = 0 }
            $NF ~ /^socket:\[[0-9]+\]$/ { holder[substr($NF, 9, length($NF) - 9)] = pid }
            $1 ~ /^[0-9]+:$/ && $4 == "01" && ($10 in holder) { ends[holder[$10]]++ }
            END { for (pid in ends) printf " %s:%d", pid, int((ends[pid] + 1) / 2) }
        '
    )
}

# sockets PID: sets $sockets to the number of its clients; with $counts of a moment ago.
sockets() {
    sockets="$counts "
    sockets=${sockets##* "$1":}
    sockets=${sockets%% *}
}

# Groups get their signals as `kill -QUIT -PID`: to busybox `--` is an error, and dash wants it after `-s QUIT`.

# retire GROUP: has the workers of a master that is gone finish their sockets, and waits until none accepts any more.
retire() {
    kill -QUIT "-$1" 2>/dev/null || return 0
    retired="$retired $1"
    echo "$retired" >"$RUN/retired"
    retire_step=0
    while accepting pgrp "$1" && [ -n "$accepting" ] && [ "$retire_step" -lt "$BURIAL" ]; do
        retire_step=$((retire_step + 1))
        nap
    done
}

# --- nginx ----------------------------------------------------------------------------------------------------------

# Runs nginx to its end, in a shell of its own. RUN/master holds the PID meanwhile, RUN/ended the status afterwards.
keep() {
    setsid "$BINARY" -e "$RUN/error.log" -p "$RUN" -c "$RUN/nginx.conf" -g "daemon off; $njs" </dev/null 3>&- &
    echo "$!" >"$RUN/master"
    wait "$!"
    echo "$?" >"$RUN/ended"
    echo ended >&3
}

# point FILE: makes RUN/nginx.conf a link to it, in one step.
point() {
    ln -sf "$1" "$RUN/nginx.conf.new" && mv -f "$RUN/nginx.conf.new" "$RUN/nginx.conf" && target=$1
}

# Sets $words to nginx's complaints since the log was last emptied; false when there are none of that level.
complaints() {
    [ -s "$RUN/error.log" ] && words=$(grep -F "[$1]" "$RUN/error.log" | head -n 8) && [ -n "$words" ]
}

# weigh_state: drops what a nginx before has left of its table, where that would keep one from starting: a file of which
# the end is missing, and one that is larger than the zone in the configuration FILE. The agent tells it all again.
weigh_state() {
    [ -s "$STATE" ] || return 0
    if [ ! -f "$STATE" ]; then
        drop_state 'it is no file'
        return 0
    fi
    weigh_size=$(wc -c <"$STATE")
    weigh_ends="$(head -c 1 "$STATE") $(tail -c 2 "$STATE")"
    weigh_zone=$(sed -n 's/^ *js_shared_dict_zone  *zone=[a-z_]*:\([0-9]\{1,6\}\)m.* state=.*/\1/p' "$1" | head -n 1)
    if [ -n "$weigh_zone" ] && [ "$weigh_size" -gt "$((weigh_zone * 1048576))" ]; then
        drop_state "it has $weigh_size bytes, and its zone $weigh_zone MiB"
    elif [ "$weigh_ends" != '{ }}' ] && [ "$weigh_ends" != '{ {}' ]; then
        drop_state 'its end is missing'
    fi
}

# drop_state WHY
drop_state() {
    rm -rf "$STATE"
    say "what was left of the table was dropped: $1"
}

# Starts nginx with what RUN/nginx.conf points to and sets $master. False when it came to have no workers; $words says
# why, and $master is empty. What is left of the table is not worth a nginx that does not start.
start_nginx() {
    weigh_state "$RUN/nginx.conf"
    launch && return 0
    [ -e "$STATE" ] || return 1
    case $words in
        *"$STATE"* | "$SILENT") drop_state "$words" ;;
        *) return 1 ;;
    esac
    launch
}

# The same, once.
launch() {
    rm -f "$RUN/master" "$RUN/ended" "$RUN/admin.sock" "$RUN/refuse.sock" "$RUN/decide.sock"
    : >"$RUN/error.log"
    keep &
    step=0
    while [ "$step" -lt "$PATIENCE" ]; do
        if [ -e "$RUN/ended" ]; then
            complaints emerg || complaints alert || words=$SILENT
            # Should it have had workers already, they hold its listeners.
            read -r master <"$RUN/master" && retire "$master"
            master=
            return 1
        fi
        if [ -s "$RUN/master" ]; then
            read -r master <"$RUN/master"
            accepting ppid "$master"
            [ -n "$accepting" ] && return 0
        fi
        step=$((step + 1))
        nap
    done
    complaints emerg || complaints alert || words='nginx started no workers within 10 seconds.'
    [ -z "$master" ] || drop_master
    return 1
}

# Kills the master and has its workers finish: asked to quit, it would later remove its successor's sockets.
drop_master() {
    kill -s KILL "$master" 2>/dev/null
    retire "$master"
    master=
    # Its keeper has to say so before another one starts.
    drop_step=0
    while [ ! -e "$RUN/ended" ] && [ "$drop_step" -lt "$BURIAL" ]; do
        drop_step=$((drop_step + 1))
        nap
    done
}

# reload: has the running master read RUN/nginx.conf. True once every accepting worker is newer than the call; else
# false, with $words, and $switched tells whether new workers were seen.
reload() {
    accepting ppid "$master"
    old=" $accepting "
    switched=
    : >"$RUN/error.log"
    clock
    told=$clock
    kill -s HUP "$master"
    # Each nap is a process, and nginx needs the processor now: most of the time that it took last time is one nap, and
    # the others are long.
    wait_for=$((usual * 3 / 4))
    [ "$wait_for" -gt 50 ] && wait_for=50
    [ "$wait_for" -gt 9 ] && nap "0.$wait_for"
    step=0
    while [ "$step" -lt "$PATIENCE" ]; do
        accepting ppid "$master"
        remaining=
        for pid in $accepting; do
            case $old in
                *" $pid "*) remaining="$remaining $pid" ;;
                *) switched=${switched:-new} ;;
            esac
        done
        if [ "$switched" = new ]; then
            switched=1
            clock
            usual=$((clock - told))
        fi
        [ -n "$switched" ] && [ -z "$remaining" ] && [ -n "$accepting" ] && return 0
        if [ -e "$RUN/ended" ]; then
            complaints emerg || complaints alert || words='nginx ended while it loaded this version.'
            return 1
        fi
        if complaints emerg; then
            case $words in
                *'still could not bind()'*) return 1 ;;
                # nginx tries an address that is in use five times, half a second apart, and may yet succeed.
                *'failed (98: '*) ;;
                *) return 1 ;;
            esac
        fi
        # The master sleeps for 100 ms between starting the new workers and telling the old ones to go. Here they hear it
        # as soon as a new one works. Nothing is lost: both generations share the listeners and their queues. (A worker
        # without sockets ends at once, and the master, which can't tell it any more, logs `sendmsg() failed`.)
        if [ -n "$switched" ]; then
            for pid in $remaining; do
                kill -s QUIT "$pid" 2>/dev/null
            done
        fi
        step=$((step + 2))
        nap 0.01
    done
    complaints emerg || complaints alert || words='The old workers did not make way for new ones within 10 seconds.'
    return 1
}

# look_at_old: sets $old_workers and enters those that are new into RUN/draining, as lines `GENERATION SECOND PID`, in
# which those that have ended don't stay. What is found at one look, right after a reload, is one generation. Seconds are
# the machine's since its start: nobody sets that clock.
look_at_old() {
    old_workers
    [ -z "$old_workers" ] && [ ! -s "$RUN/draining" ] && return 0
    read -r look_now look_rest </proc/uptime
    look_now=${look_now%%.*}
    look_known=' '
    look_last=0
    {
        if [ -s "$RUN/draining" ]; then
            while read -r look_generation look_since look_pid; do
                [ "$look_generation" -gt "$look_last" ] && look_last=$look_generation
                case " $old_workers " in
                    *" $look_pid "*)
                        look_known="$look_known$look_pid "
                        echo "$look_generation $look_since $look_pid"
                        ;;
                esac
            done <"$RUN/draining"
        fi
        look_last=$((look_last + 1))
        for look_pid in $old_workers; do
            case $look_known in
                *" $look_pid "*) ;;
                *) echo "$look_last $look_now $look_pid" ;;
            esac
        done
    } >"$RUN/draining.new"
    mv -f "$RUN/draining.new" "$RUN/draining"
}

# survey: sets $words to the old workers and what they hold.
survey() {
    look_at_old
    words=
    [ -s "$RUN/draining" ] || return 0
    read -r survey_now survey_rest </proc/uptime
    survey_now=${survey_now%%.*}
    # shellcheck disable=SC2086 # PIDs have no blanks
    count_sockets $old_workers
    while read -r survey_generation survey_since survey_pid; do
        sockets "$survey_pid"
        words="$words$survey_generation $((survey_now - survey_since)) $survey_pid $sockets
"
    done <"$RUN/draining"
}

# end_worker PID: ends one old worker; false, with $words, when it is none. Sets $sockets to what it held.
end_worker() {
    old_workers
    case " $old_workers " in
        *" $1 "*) ;;
        *)
            words="$1 is not a worker that finishes its sockets."
            return 1
            ;;
    esac
    count_sockets "$1"
    sockets "$1"
    # Told to terminate, a worker ends at once and in order; one that hangs has to be killed. One that has ended has no
    # title any more, whoever is to bury it.
    kill -s TERM "$1" 2>/dev/null
    end_step=0
    end_title=-
    while [ -n "$end_title" ] && [ "$end_step" -lt "$BURIAL" ]; do
        end_step=$((end_step + 1))
        nap
        end_title=
        read -r end_title 2>/dev/null <"/proc/$1/cmdline"
    done
    [ "$end_step" -lt "$BURIAL" ] || kill -s KILL "$1" 2>/dev/null
    words=$sockets
}

# load_version VERSION: false, with $words, when nginx goes on with what it had.
load_version() {
    if ! serving; then
        words='nginx is ending.'
        return 1
    fi
    if [ ! -f "$CONF/$1.conf" ]; then
        words="There is no file $CONF/$1.conf."
        return 1
    fi
    before=$target
    if ! point "$CONF/$1.conf"; then
        words="The link $RUN/nginx.conf can't be written."
        return 1
    fi
    if [ -z "$master" ]; then
        start_nginx && return 0
        point "$before"
        later 1 retry
        return 1
    fi
    reload && return 0
    point "$before"
    # Should the master have died, its keeper's word lies in the FIFO already.
    if [ -n "$switched" ] && [ ! -e "$RUN/ended" ]; then
        refusal=$words
        reload || say "the version before could not be brought back: $words"
        words=$refusal
    fi
    return 1
}

# find_njs: sets $njs to what nginx must be told so that it has njs: nothing where njs is built in, and nothing where there
# is none that can do what we ask of it. Has njs tell its own version, beside nginx's start.
find_njs() {
    cat >"$RUN/njs.js" <<'END'
import fs from 'fs';

function tell() {
    fs.writeFileSync(ngx.prefix + 'njs-version.new', njs.version + '\n');
    fs.renameSync(ngx.prefix + 'njs-version.new', ngx.prefix + 'njs-version');
}

export default {tell};
END
    cat >"$RUN/njs.conf" <<END
pid njs.pid;
events {}
http {
    access_log             off;
    client_body_temp_path  tmp/njs;
    proxy_temp_path        tmp/njs;
    fastcgi_temp_path      tmp/njs;
    uwsgi_temp_path        tmp/njs;
    scgi_temp_path         tmp/njs;
    js_import              probe from "$RUN/njs.js";
    server {
        listen  "unix:$RUN/njs.sock";
        location / { js_periodic probe.tell interval=1h; }
    }
}
END
    njs_folder=${WSROUTE_NGINX_MODULES:-$("$BINARY" -V 2>&1 3>&- | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')}
    for njs in '' "load_module \"$njs_folder/ngx_http_js_module.so\";"; do
        set -- "$BINARY" -e stderr -p "$RUN" -c "$RUN/njs.conf" -g
        "$@" "$njs" -t -q </dev/null >/dev/null 2>&1 3>&- || continue
        (
            "$@" "$njs master_process off; daemon off;" </dev/null >/dev/null 2>&1 3>&- &
            njs_step=0
            while [ ! -s "$RUN/njs-version" ] && kill -s 0 "$!" 2>/dev/null && [ "$njs_step" -lt "$PATIENCE" ]; do
                njs_step=$((njs_step + 1))
                nap
            done
            [ -s "$RUN/njs-version" ] || echo 0 >"$RUN/njs-version"
            kill -s TERM "$!" 2>/dev/null
        ) 3>&- &
        return 0
    done
    njs=
    echo 0 >"$RUN/njs-version"
}

# --- The controller -------------------------------------------------------------------------------------------------

# answer ID OUTCOME WORDS. Only the last few answers are kept.
answer() {
    if printf '%s\n%s\n' "$2" "$3" >"$RUN/results/.new" && mv -f "$RUN/results/.new" "$RUN/results/$1"; then
        # shellcheck disable=SC2086 # IDs have no blanks
        set -- "$1" $answered
        answered=$1
        [ $# -gt 1 ] && answered="$answered $2"
        [ $# -gt 2 ] && answered="$answered $3"
        [ $# -gt 3 ] && rm -f "$RUN/results/$4"
    else
        say "the answer to $1 can't be written"
    fi
}

# valid ID VERSION: the agent is trusted to command, but not to name paths.
valid() {
    case $1 in '' | *[!a-z0-9-]*) return 1 ;; esac
    case $2 in *[!0-9a-f]*) return 1 ;; esac
    [ "${#1}" -le 40 ] && [ "${#2}" -eq 12 ]
}

# valid_pid PID
valid_pid() {
    case $1 in '' | 0* | *[!0-9]*) return 1 ;; esac
    [ "${#1}" -le 10 ]
}

serve() {
    if start_nginx; then
        say "nginx serves $target"
        pause=1
    else
        say "nginx does not start with $target: $words"
        later "$pause" retry
        [ "$pause" -lt 5 ] && pause=$((pause + 1))
    fi
}

serving() {
    [ "$state" = serving ] || [ "$state" = leaving ]
}

quit_nginx() {
    state=quitting
    if [ -n "$master" ]; then
        kill -s QUIT "$master"
        # So that those which take sockets now are one generation.
        quit_step=0
        while accepting ppid "$master" && [ -n "$accepting" ] && [ "$quit_step" -lt "$BURIAL" ]; do
            quit_step=$((quit_step + 1))
            nap
        done
    fi
    turns
    finish_if_over
}

# Ends the controller once nginx and all workers of masters that were killed are gone.
finish_if_over() {
    [ -z "$master" ] || return 0
    still=
    for group in $retired; do
        kill -0 "-$group" 2>/dev/null && still="$still $group"
    done
    retired=$still
    if [ -n "$retired" ]; then
        later 0.2 ended
        return 0
    fi
    say 'nginx has ended'
    : >"$RUN/finished"
    exit 0
}

# The keeper says that the master is gone, or a timer that it is time to look again.
ended() {
    # Without the main shell nobody hears signals, and another instance may have taken over.
    kill -s 0 "$$" 2>/dev/null || exit 0
    if [ -n "$master" ] && [ -e "$RUN/ended" ]; then
        read -r status <"$RUN/ended"
        group=$master
        master=
        # A master that was told to quit ends after its workers, unless it was killed.
        retire "$group"
        # Its workers were nobody's children for a moment, and may have been overlooked when the next end was planned.
        if [ -n "$retired" ]; then
            alarm=0
            turn
        fi
        if serving; then
            say "nginx ended with status $status; its workers finish their sockets"
            # At once, but no more than once a second when it dies again and again.
            if [ -n "$hot" ]; then
                later 1 retry
            else
                hot=1
                later 5 cool
                serve
            fi
        fi
    fi
    serving || finish_if_over
}

hurry() {
    case $state in
        serving)
            state=leaving
            say "told to end: nginx goes on serving for $DELAY s"
            clock
            span=$((GRACE - FAREWELL))
            if [ "$span" -gt "$DELAY" ]; then deadline=$((clock + span * 100)); else span=0; fi
            echo "$clock $span" >"$RUN/leaving.new" && mv -f "$RUN/leaving.new" "$RUN/leaving"
            if [ "$DELAY" = 0 ]; then quit_nginx; else later "$DELAY" leave; fi
            ;;
        leaving) quit_nginx ;;
        quitting)
            state=stopping
            for group in $master $retired; do
                kill -TERM "-$group" 2>/dev/null
            done
            ;;
    esac
}

# --- The end of the pod: one worker at a time ------------------------------------------------------------------------

# end_as_told: goes on with the end of the pod where a controller that was killed has left it.
end_as_told() {
    read -r told span <"$RUN/leaving"
    [ "$span" = 0 ] || deadline=$((told + span * 100))
    [ ! -s "$RUN/closed" ] || read -r closed_sockets closed_workers <"$RUN/closed"
    say 'told to end before: nginx takes no more sockets'
    quit_nginx
}

# holders: sets $holders to the number of workers that hold sockets, and $next_pid to the one whose turn it is: of the
# oldest generation the one with the fewest, as those that wait may yet end by themselves.
holders() {
    look_at_old
    holders=0
    next_pid=
    [ -s "$RUN/draining" ] || return 0
    # shellcheck disable=SC2086 # PIDs have no blanks
    count_sockets $old_workers
    while read -r holders_generation holders_since holders_pid; do
        sockets "$holders_pid"
        [ "$sockets" -gt 0 ] || continue
        holders=$((holders + 1))
        if [ -z "$next_pid" ] || [ "$holders_generation" -lt "$next_generation" ] ||
            { [ "$holders_generation" = "$next_generation" ] && [ "$sockets" -lt "$next_sockets" ]; }; then
            next_pid=$holders_pid
            next_generation=$holders_generation
            next_sockets=$sockets
        fi
    done <"$RUN/draining"
}

# turns: from now on workers are ended. The time of the last end, at first of none, is what the next one counts from.
turns() {
    [ -n "$deadline" ] || return 0
    clock
    turned=$clock
    alarm=0
    turn
}

# turn: ends a worker if it is time, and sets the alarm for the next one. The ends are spread over the workers that hold
# sockets by then: one that needs none leaves its time to the others.
turn() {
    [ "$state" = quitting ] && [ -n "$deadline" ] || return 0
    # Words that are not from the alarm are not heeded. What a clock leaves out is less than two hundredths.
    clock
    [ "$((clock + 2))" -ge "$alarm" ] || return 0
    holders
    set_alarm
    if [ "$((clock + 2))" -ge "$deadline" ]; then
        old_workers
        # Those without sockets as well, should there be any, and nobody is waited for any more.
        for turn_pid in $old_workers; do
            close_worker "$turn_pid"
        done
        return 0
    fi
    if [ "$holders" -gt 0 ] && [ "$((clock + 2))" -ge "$alarm" ]; then
        close_worker "$next_pid"
        clock
        turned=$clock
        holders
        set_alarm
    fi
    turn_pause=$((alarm > clock ? alarm - clock : 1))
    turn_rest=$((turn_pause % 100))
    [ "$turn_rest" -gt 9 ] || turn_rest=0$turn_rest
    later "$((turn_pause / 100)).$turn_rest" turn
}

# set_alarm: sets $alarm to when the next worker is to end.
set_alarm() {
    alarm=$deadline
    [ "$holders" = 0 ] || alarm=$((turned + (deadline - turned) / holders))
}

# close_worker PID: ends a worker for good, and tells of it.
close_worker() {
    end_worker "$1" || return 0
    closed_sockets=$((closed_sockets + sockets))
    closed_workers=$((closed_workers + 1))
    echo "$closed_sockets $closed_workers" >"$RUN/closed.new" && mv -f "$RUN/closed.new" "$RUN/closed"
    say "pod-termination: the end of worker $1 closed $sockets sockets; $closed_sockets were closed so far"
}

controller() {
    state=serving
    # Those of a controller that was killed are to be waited for all the same.
    retired=
    [ -s "$RUN/retired" ] && read -r retired <"$RUN/retired"
    answered=
    usual=0
    hot=
    pause=1
    words=
    # Left by a controller that was killed: its workers keep their sockets, and a new master takes the listeners.
    master=
    if [ -s "$RUN/master" ]; then
        read -r left_over <"$RUN/master"
        title=
        read -r title 2>/dev/null <"/proc/$left_over/cmdline"
        case $title in
            'nginx: master process'*"$RUN/nginx.conf"*)
                master=$left_over
                drop_master
                ;;
        esac
    fi
    target=$(readlink "$RUN/nginx.conf")
    [ -f "$target" ] || point "$BOOTSTRAP"
    deadline=
    closed_sockets=0
    closed_workers=0
    if [ -s "$RUN/leaving" ]; then
        end_as_told
    else
        serve
    fi
    while :; do
        if ! read -r verb id version rest <&3; then
            say 'the FIFO can not be read'
            exit 1
        fi
        case $verb in
            test)
                valid "$id" "$version" || continue
                # nginx looks at it in a test, too.
                weigh_state "$CONF/$version.conf"
                "$BINARY" -t -q -e stderr -p "$RUN" -c "$CONF/$version.conf" -g "$njs" </dev/null \
                    >"$RUN/words" 2>&1 3>&- && outcome=ok || outcome=failed
                words=
                [ -s "$RUN/words" ] && words=$(tail -c 4000 "$RUN/words")
                answer "$id" "$outcome" "$words"
                ;;
            load)
                valid "$id" "$version" || continue
                if load_version "$version"; then
                    answer "$id" ok ''
                    say "loaded $version"
                else
                    answer "$id" failed "$words"
                    say "$version was refused: $words"
                fi
                look_at_old
                ;;
            survey)
                valid "$id" 000000000000 || continue
                survey
                answer "$id" ok "$words"
                ;;
            retire)
                valid "$id" 000000000000 && valid_pid "$version" || continue
                if end_worker "$version"; then
                    answer "$id" ok "$words"
                    say "ended the old worker $version, which held $words sockets"
                else
                    answer "$id" failed "$words"
                fi
                ;;
            quit)
                valid "$id" 000000000000 || continue
                answer "$id" ok ''
                quit_nginx
                ;;
            hurry) hurry ;;
            leave) [ "$state" = leaving ] && quit_nginx ;;
            turn) turn ;;
            ended) ended ;;
            retry) serving && [ -z "$master" ] && serve ;;
            cool) hot= ;;
            *) say 'a line in the FIFO was no command' ;;
        esac
    done
}

# --- Main -----------------------------------------------------------------------------------------------------------

# An open socket takes two descriptors; the soft limit is often 1,024.
# shellcheck disable=SC3045
ulimit -n "$(ulimit -H -n)" 2>/dev/null || say "the limit of open files stays at $(ulimit -n)"

mkdir -p "$RUN/results" "$RUN/tmp" || exit 1
rm -f "$RUN/control" "$RUN/njs-version" "$RUN/njs.sock" "$RUN/finished" "$RUN/retired" "$RUN/draining" "$RUN/leaving" "$RUN/closed" "$RUN"/results/* "$RUN/results/.new"
mkfifo "$RUN/control" && chmod 0620 "$RUN/control" && exec 3<>"$RUN/control" || exit 1
# QUIT is what the stock image names as its stop signal, and so what the kubelet sends.
trap 'echo hurry >&3' TERM INT QUIT

version=$("$BINARY" -v 2>&1 3>&-)
version=${version#*nginx/}
printf '%s\n' "${version%%[!0-9.]*}" >"$RUN/nginx-version"
find_njs

while [ ! -e "$RUN/finished" ]; do
    controller &
    controller=$!
    while kill -s 0 "$controller" 2>/dev/null; do
        wait "$controller"
    done
    [ -e "$RUN/finished" ] || sleep 1
done

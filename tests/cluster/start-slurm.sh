#!/usr/bin/env bash
# Starts a Slurm of two nodes on this computer, without systemd: start-slurm.sh FOLDER [PORT]
# Needs root and the packages slurm-wlm and munge. Prints the line that lets Slurm's commands find it;
# stop-slurm.sh FOLDER ends it.
set -euo pipefail

folder=$(realpath -m "$1")
port=${2:-26817}
host=$(hostname -s)
mkdir -p "$folder"/{state,log}

# munge signs what the daemons say to each other
mkdir -p /run/munge
chown munge:munge /run/munge
if [ ! -s /etc/munge/munge.key ]; then
    head -c 1024 /dev/urandom > /etc/munge/munge.key
    chown munge:munge /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
fi
munge -n < /dev/null > /dev/null 2>&1 || runuser -u munge -- /usr/sbin/munged
for _ in $(seq 50); do munge -n < /dev/null > /dev/null 2>&1 && break; sleep 0.1; done

cat > "$folder/slurm.conf" << CONF
ClusterName=twonodes
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=5
SlurmdTimeout=6
MessageTimeout=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/%n.log
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=2 RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$folder/slurm.conf"
slurmctld -c
for node in n1 n2; do
    mkdir -p "$folder/spool-$node"
    slurmd -N "$node"
done
for _ in $(seq 150); do
    [ "$(sinfo -h -o %D -t idle 2> /dev/null)" = 2 ] && break
    sleep 0.2
done
sinfo >&2
[ "$(sinfo -h -o %D -t idle)" = 2 ]
echo "export SLURM_CONF=$SLURM_CONF"

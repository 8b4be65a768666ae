#!/usr/bin/env bash
# Ends what start-slurm.sh FOLDER started, jobs included; munged stays.
folder=$(realpath -m "$1")
export SLURM_CONF="$folder/slurm.conf"
scancel --user=root 2> /dev/null
sleep 1
for name in n1 n2 slurmctld; do
    [ -s "$folder/$name.pid" ] && kill "$(cat "$folder/$name.pid")" 2> /dev/null
done
true

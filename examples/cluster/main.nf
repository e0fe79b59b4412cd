// nextflow run examples/cluster/main.nf --input rnas.fa --shards 8
params.shards = 8

process fold {
    cpus 1
    input:
    tuple path(rnas), val(k)
    output:
    path "${k}.part"
    script:
    "stemloop fold ${rnas} -f parquet --shard ${k}/${params.shards} -o ${k}.part"
}

process merge {
    publishDir '.', mode: 'copy'
    input:
    path parts
    output:
    path 'folded.parquet'
    script:
    "stemloop merge ${parts} -o folded.parquet"
}

workflow {
    fold(Channel.of(1..params.shards).map { k -> tuple(file(params.input), k) })
    merge(fold.out.collect())
}

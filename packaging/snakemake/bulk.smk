# Instead of stemloop.smk, for files of many RNAs: config["shares"] jobs a file, of one CPU each,
# that a cluster runs side by side, and one that puts their parts together. The result has the
# bytes of a run in one piece with one thread.
#     include: "bulk.smk"
configfile: workflow.source_path("config.yaml")


wildcard_constraints:
    share=r"\d+",


SHARES = range(1, config["shares"] + 1)


rule stemloop_fold_share:
    input:
        os.path.join(config["sequences"], "{sample}.fa"),
    output:
        temp(os.path.join(config["results"], "{sample}.fold", "{share}.part")),
    log:
        os.path.join(config["results"], "logs/{sample}.fold.{share}.log"),
    conda:
        "envs/stemloop.yaml"
    threads: 1
    params:
        model=config["fold_model"],
        shares=config["shares"],
    shell:
        "stemloop fold {input} --model {params.model} --shard {wildcards.share}/{params.shares} --output {output} --force 2> {log}"


rule stemloop_fold:
    input:
        expand(rules.stemloop_fold_share.output, share=SHARES, allow_missing=True),
    output:
        os.path.join(config["results"], "{sample}.dbn"),
    log:
        os.path.join(config["results"], "logs/{sample}.fold.log"),
    conda:
        "envs/stemloop.yaml"
    threads: 1
    shell:
        "stemloop merge {input} --output {output} --force 2> {log}"


rule stemloop_embed_share:
    input:
        os.path.join(config["sequences"], "{sample}.fa"),
    output:
        temp(os.path.join(config["results"], "{sample}.embed", "{share}.part")),
    log:
        os.path.join(config["results"], "logs/{sample}.embed.{share}.log"),
    conda:
        "envs/stemloop.yaml"
    threads: 1
    params:
        model=config["language_model"],
        pool=config["pool"],
        shares=config["shares"],
    shell:
        "stemloop embed {input} --model {params.model} --pool {params.pool} --long window --device cpu --threads {threads} --shard {wildcards.share}/{params.shares} --output {output} --force 2> {log}"


rule stemloop_embed:
    input:
        expand(rules.stemloop_embed_share.output, share=SHARES, allow_missing=True),
    output:
        os.path.join(config["results"], "{sample}.parquet"),
    log:
        os.path.join(config["results"], "logs/{sample}.embed.log"),
    conda:
        "envs/stemloop.yaml"
    threads: 1
    shell:
        "stemloop merge {input} --output {output} --force 2> {log}"

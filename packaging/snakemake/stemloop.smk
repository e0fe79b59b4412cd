# Rules to include in a workflow of your own:
#     include: "stemloop.smk"
# From {sample}.fa in the folder config["sequences"] to files in the folder config["results"].
configfile: workflow.source_path("config.yaml")


rule stemloop_fold:
    input:
        os.path.join(config["sequences"], "{sample}.fa"),
    output:
        os.path.join(config["results"], "{sample}.dbn"),
    log:
        os.path.join(config["results"], "logs/{sample}.fold.log"),
    conda:
        "envs/stemloop.yaml"
    threads: 2
    params:
        model=config["fold_model"],
    shell:
        "stemloop fold {input} --model {params.model} --jobs {threads} --output {output} --force 2> {log}"


rule stemloop_embed:
    input:
        os.path.join(config["sequences"], "{sample}.fa"),
    output:
        os.path.join(config["results"], "{sample}.parquet"),
    log:
        os.path.join(config["results"], "logs/{sample}.embed.log"),
    conda:
        "envs/stemloop.yaml"
    threads: 2
    params:
        model=config["language_model"],
        pool=config["pool"],
    shell:
        "stemloop embed {input} --model {params.model} --pool {params.pool} --long window --device cpu --threads {threads} --output {output} --force 2> {log}"


rule stemloop_annotate:
    input:
        os.path.join(config["sequences"], "{sample}.fa"),
    output:
        directory(os.path.join(config["results"], "{sample}.annotation")),
    log:
        os.path.join(config["results"], "logs/{sample}.annotate.log"),
    conda:
        "envs/stemloop.yaml"
    threads: 1
    shell:
        "stemloop annotate {input} --output {output} --threads {threads} --force 2> {log}"

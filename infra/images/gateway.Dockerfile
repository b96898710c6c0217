# A gateway: one static program, no shell, not root. The build's context is a
# folder with the program and the certificates of the authorities that it
# trusts; build.sh beside this file makes it.
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY gateway /gateway
USER 65532:65532
# Other processes of the mesh, and clients.
EXPOSE 7400 7443
STOPSIGNAL SIGTERM
ENTRYPOINT ["/gateway"]
